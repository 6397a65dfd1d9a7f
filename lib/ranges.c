// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* A growing list of ranges. */
#include <errno.h>

#include "internal.h"

int gmem_ranges_add(struct ranges *ranges, uint64_t offset, uint64_t length)
{
	struct gmem_range *last = ranges->nr ? &ranges->range[ranges->nr - 1] : NULL, *grown;
	size_t room;

	if (last && last->offset + last->length == offset) {
		last->length += length;
		return 0;
	}
	if (ranges->nr == ranges->room) {
		room = ranges->room ? 2 * ranges->room : 16;
		grown = reallocarray(ranges->range, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		ranges->range = grown;
		ranges->room = room;
	}
	ranges->range[ranges->nr++] = (struct gmem_range) { offset, length };
	return 0;
}

const struct gmem_range *gmem_ranges_find(const struct ranges *ranges, uint64_t offset)
{
	size_t low = 0, high = ranges->nr, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (ranges->range[middle].offset + ranges->range[middle].length > offset)
			high = middle;
		else
			low = middle + 1;
	}
	return low < ranges->nr ? &ranges->range[low] : NULL;
}
