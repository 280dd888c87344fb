#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# End with status 0, but without a verdict.

echo "ok 1 - for the console only"
