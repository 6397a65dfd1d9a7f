// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Write JSON to stdout, two spaces a level. */
#include <inttypes.h>
#include <math.h>

#include "cli.h"

#define MAX_DEPTH	16

static struct {
	char close;
	bool some;		/* it has a member */
} level[MAX_DEPTH];
static int depth;

/* The name of a file may be any bytes, JSON is UTF-8. */
static void put_quoted(const char *text)
{
	size_t len;

	putchar('"');
	for (; *text; text += len ?: 1) {
		len = utf8_length(text);
		if (!len)
			fputs("\\ufffd", stdout);
		else if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else if ((unsigned char)*text < 0x20)
			printf("\\u%04x", *text);
		else
			fwrite(text, 1, len, stdout);
	}
	putchar('"');
}

static void begin_value(const char *key)
{
	if (depth) {
		printf("%s\n%*s", level[depth - 1].some ? "," : "", 2 * depth, "");
		level[depth - 1].some = true;
	}
	if (key) {
		put_quoted(key);
		printf(": ");
	}
}

static void begin(const char *key, char open, char close)
{
	begin_value(key);
	putchar(open);
	level[depth].close = close;
	level[depth++].some = false;
}

void json_object(const char *key)
{
	begin(key, '{', '}');
}

void json_result(const char *error)
{
	json_object(NULL);
	json_string("command", command_name);
	json_bool("ok", !error);
	if (error)
		json_string("error", error);
	else
		json_null("error");
}

void json_array(const char *key)
{
	begin(key, '[', ']');
}

void json_end(void)
{
	depth--;
	if (level[depth].some)
		printf("\n%*s", 2 * depth, "");
	putchar(level[depth].close);
	if (!depth)
		putchar('\n');
}

void json_string(const char *key, const char *value)
{
	begin_value(key);
	put_quoted(value);
}

void json_uint(const char *key, uint64_t value)
{
	begin_value(key);
	printf("%" PRIu64, value);
}

/* JSON has neither infinity nor NaN. */
void json_double(const char *key, double value)
{
	if (!isfinite(value)) {
		json_null(key);
		return;
	}
	begin_value(key);
	printf("%.3f", value);
}

void json_bool(const char *key, bool value)
{
	begin_value(key);
	printf(value ? "true" : "false");
}

void json_null(const char *key)
{
	begin_value(key);
	printf("null");
}
