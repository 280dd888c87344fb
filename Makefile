# SPDX-License-Identifier: GPL-2.0
#
# Verbs only; 'make' alone tells them.  What they do is in scripts/, tests/ and
# tools/, each of which runs without make too.

export BASE VENDOR TESTS V ALL RELEASE KERNEL FLAVOUR DEBUG_INFO
export VERB = $@
# What a user should repeat after an error.
export NEXT = $(strip make $@ $(filter-out V=%,$(MAKEOVERRIDES)))

.NOTPARALLEL:
.PHONY: help run test bench check series rebase apply modules deb dkms clean
.DEFAULT_GOAL = help

help:
	@scripts/help

run:
	@scripts/setup run
	@scripts/chosen run tools/report/run

test:
	@scripts/setup test
	@scripts/chosen test tests/lib/run

bench:
	@scripts/setup bench
	@scripts/chosen bench tools/machine/bench

check:
	@scripts/check

series:
	@scripts/packages series
	@scripts/series

rebase:
	@scripts/rebase

apply:
	@scripts/apply

modules:
	@scripts/packages modules
	@scripts/modules

deb:
	@scripts/packages deb
	@scripts/deb $(BASE)

dkms:
	@scripts/dkms

clean:
	@scripts/clean

.DEFAULT:
	@echo "error: there is no verb '$@'" >&2; echo "next: make help" >&2; exit 2
