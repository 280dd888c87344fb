#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# All is well.

. /lib/check.sh
check "right" true
check_done
