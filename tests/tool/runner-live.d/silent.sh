#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Ends well, but has no verdict.

echo "ok 1 - for the console only"
