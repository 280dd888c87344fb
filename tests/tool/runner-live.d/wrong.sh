#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# One result of two is bad.

. /lib/check.sh
check "right" true
check "wrong" false
check_done
