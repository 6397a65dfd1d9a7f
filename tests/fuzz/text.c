// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Names and messages of any bytes, as text and as JSON. A message has no control
 * character; JSON is one line a value and UTF-8, its strings end where they should,
 * and what was UTF-8 before is the same after.
 */
#include "fuzz.h"
#include "cli.h"

/* A string's end, and what it was; NULL if it is none. */
static const char *read_json(const char *at, char *to)
{
	if (*at++ != '"')
		return NULL;
	while (*at != '"') {
		size_t len = utf8_length(at);
		unsigned int code;

		if (!len || (unsigned char)*at < 0x20)
			return NULL;
		if (*at != '\\') {
			memcpy(to, at, len);
			to += len;
			at += len;
		} else if (at[1] == '"' || at[1] == '\\') {
			*to++ = at[1];
			at += 2;
		} else {
			if (sscanf(at, "\\u%4x", &code) != 1)
				return NULL;
			if (code == 0xfffd)
				to = stpcpy(to, "\xef\xbf\xbd");
			else
				*to++ = code;
			at += 6;
		}
	}
	*to = '\0';
	return at + 1;
}

/* By what the bytes mean, and not by a table. */
static bool is_utf8(const char *text)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	const uint8_t *at = (const uint8_t *)text;

	while (*at) {
		int more = *at < 0x80 ? 0 : *at >> 5 == 6 ? 1 : *at >> 4 == 14 ? 2 : *at >> 3 == 30 ? 3 : -1;
		uint32_t code = more > 0 ? *at & (0x3f >> more) : *at;

		if (more < 0)
			return false;
		at++;
		for (int i = 0; i < more; i++, at++) {
			if (*at >> 6 != 2)
				return false;
			code = code << 6 | (*at & 0x3f);
		}
		if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
			return false;
	}
	return true;
}

static void check_json(const char *text)
{
	FILE *real = stdout;
	char *out, *value = malloc(3 * strlen(text) + 1);
	const char *end;
	size_t size;

	stdout = open_memstream(&out, &size);
	MUST(stdout && value);
	json_object(NULL);
	json_string("key", text);
	json_end();
	fclose(stdout);
	stdout = real;
	MUST(is_utf8(out));
	MUST(!strncmp(out, "{\n  \"key\": ", 11));
	end = read_json(out + 11, value);
	MUST(end && !strcmp(end, "\n}\n"));
	MUST(!is_utf8(text) || !strcmp(value, text));
	free(value);
	free(out);
}

static void check_message(const char *text)
{
	char *out;
	size_t size;
	FILE *to = open_memstream(&out, &size);

	MUST(to);
	put_printable(to, text);
	fclose(to);
	MUST(is_utf8(out) && size <= 4 * strlen(text) && strlen(out) == size);
	for (size_t i = 0; i < size; i++) {
		unsigned char byte = out[i];

		MUST(byte >= 0x20 && byte != 0x7f);
		MUST(byte != 0xc2 || (unsigned char)out[i + 1] >= 0xa0);
	}
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char *text = malloc(size + 1);

	MUST(text);
	memcpy(text, bytes, size);
	text[size] = '\0';
	check_json(text);
	check_message(text);
	free(text);
	return 0;
}
