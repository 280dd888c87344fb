#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Never end.

mark say "ok 1 - as yet"
while :; do :; done
