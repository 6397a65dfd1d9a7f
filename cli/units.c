// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Sizes as people write them. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "lib/shared.h"

static bool parse_digits(const char *text, unsigned long long *number, char **end)
{
	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*number = strtoull(text, end, number_base(text));
	return !errno;
}

bool parse_number(const char *text, uint64_t *number)
{
	unsigned long long parsed;
	char *end;

	if (!parse_digits(text, &parsed, &end) || *end)
		return false;
	*number = parsed;
	return true;
}

bool parse_size(const char *text, uint64_t *size)
{
	static const char units[] = "KMGT";
	unsigned long long number;
	const char *unit;
	int shift = 0;
	char *end;

	if (!parse_digits(text, &number, &end))
		return false;

	/* K, k or KiB; not KB. */
	if (*end && (unit = strchr(units, toupper((unsigned char)*end)))) {
		shift = 10 * (unit - units + 1);
		end++;
		if (!strcmp(end, "iB"))
			end += 2;
	}
	if (*end || number > UINT64_MAX >> shift)
		return false;

	*size = (uint64_t)number << shift;
	return true;
}

const char *format_size(char buffer[32], uint64_t size)
{
	static const char units[] = "KMGT";
	double value = size;
	int unit = -1;

	while (value >= 1024 && unit < 3) {
		value /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(buffer, 32, "%" PRIu64 " byte%s", size, size == 1 ? "" : "s");
	else if (value == (uint64_t)value)
		snprintf(buffer, 32, "%" PRIu64 " %ciB", (uint64_t)value, units[unit]);
	else
		snprintf(buffer, 32, "%.1f %ciB", value, units[unit]);
	return buffer;
}
