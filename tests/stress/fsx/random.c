// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random numbers that are the same on every machine: splitmix64.
 */
#include "fsx.h"

static uint64_t state;

static uint64_t next(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

void seed_random(unsigned long seed, unsigned long stream)
{
	state = seed;
	state = next() + stream;
	state = next();
}

long random_below(long n)
{
	return next() % n;
}

bool chance(int percent)
{
	return random_below(100) < percent;
}
