#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# All results are good.

. /lib/check.sh
check "right" true
check_done
