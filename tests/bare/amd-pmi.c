// SPDX-License-Identifier: GPL-2.0
/* AMD: the performance monitoring interrupt. */
#include "pmu.h"
#include "shared.h"

void test(void)
{
	pmis();
}
