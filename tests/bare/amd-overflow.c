// SPDX-License-Identifier: GPL-2.0
/* AMD: overflow of every counter. */
#include "pmu.h"
#include "shared.h"

void test(void)
{
	overflow();
}
