// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Text from elsewhere, which may be anything. */
#include "cli.h"

/* See RFC 3629: no surrogates, nothing above U+10FFFF, nothing longer than need be. */
size_t utf8_length(const char *text)
{
	static const struct {
		unsigned char first, last, low, high;
		size_t len;
	} forms[] = {
		{ 0x01, 0x7f, 0x00, 0x00, 1 },
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};
	const unsigned char *b = (const unsigned char *)text;
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(forms); i++)
		if (b[0] >= forms[i].first && b[0] <= forms[i].last)
			break;
	if (i == ARRAY_SIZE(forms))
		return 0;
	if (forms[i].len > 1 && (b[1] < forms[i].low || b[1] > forms[i].high))
		return 0;
	for (n = 2; n < forms[i].len; n++)
		if (b[n] < 0x80 || b[n] > 0xbf)
			return 0;
	return forms[i].len;
}

/* Of one byte, or U+0080 to U+009F. */
static bool is_control(const char *text, size_t len)
{
	const unsigned char *b = (const unsigned char *)text;

	return len == 1 ? b[0] < 0x20 || b[0] == 0x7f : len == 2 && b[0] == 0xc2 && b[1] < 0xa0;
}

void put_printable(FILE *to, const char *text)
{
	size_t len, i;

	for (; *text; text += len ?: 1) {
		len = utf8_length(text);
		if (*text == '\n')
			fputs("\\n", to);
		else if (len && !is_control(text, len))
			fwrite(text, 1, len, to);
		else
			for (i = 0; i < (len ?: 1); i++)
				fprintf(to, "\\x%02x", (unsigned char)text[i]);
	}
}
