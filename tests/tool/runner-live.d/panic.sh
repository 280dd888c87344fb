#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Crash the kernel.

mark say "ok 1 - as yet"
echo c > /proc/sysrq-trigger
sleep 100
