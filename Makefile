# SPDX-License-Identifier: GPL-2.0
#
# Targets only; 'make' alone lists them.  Each calls a program in scripts/, tests/ or
# tools/, which also runs without make.

export BASE FROM SUITE VENDOR TESTS V ALL PEER MODEL RELEASE KERNEL FLAVOUR DEBUG_INFO
export KVMPMU_TARGET = $@
# The command to repeat after an error.
export NEXT = $(strip make $@ $(filter-out V=%,$(MAKEOVERRIDES)))

.NOTPARALLEL:
.PHONY: help run test list shell debug bench bench-machine check check-fast docs tree export series
.PHONY: rebase new-base apply modules deb dkms clean
.DEFAULT_GOAL = help

help:
	@scripts/cmd/help

run:
	@scripts/step/setup run
	@scripts/step/chosen run tools/demo/demo.py

test:
	@scripts/step/setup test
	@scripts/step/chosen test tests/runner/run.py

list:
	@scripts/cmd/list

shell:
	@scripts/cmd/shell

debug:
	@scripts/cmd/debug

bench:
	@scripts/step/setup bench
	@scripts/step/chosen bench tools/bench/bench.py

bench-machine:
	@scripts/step/setup bench-machine
	@scripts/step/chosen bench-machine tools/machine/bench

check:
	@scripts/cmd/check

check-fast:
	@scripts/cmd/check-fast

docs:
	@scripts/cmd/docs

tree:
	@scripts/step/packages series
	@scripts/cmd/tree

export:
	@scripts/cmd/export

series:
	@scripts/step/packages series
	@scripts/cmd/series

rebase:
	@scripts/cmd/rebase

new-base:
	@scripts/cmd/new-base

apply:
	@scripts/cmd/apply

modules:
	@scripts/step/packages modules
	@scripts/cmd/modules

deb:
	@scripts/step/packages deb
	@scripts/cmd/deb $(BASE)

dkms:
	@scripts/cmd/dkms

clean:
	@scripts/cmd/clean

.DEFAULT:
	@echo "error: there is no target '$@'" >&2; echo "next: make help" >&2; exit 2
