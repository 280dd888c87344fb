// SPDX-License-Identifier: GPL-2.0
/* The tracepoints of mediated vPMUs. */

#define CREATE_TRACE_POINTS
#include "trace.h"
