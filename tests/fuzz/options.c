// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * The command line, any words: parsed, or refused with status 2, or --help and the
 * like, with 0. Operands come through as they were, in their order. Sizes are read
 * as they are written, and what gmem prints of one is one.
 *
 * The input is the words, ended by zero bytes.
 */
#include <setjmp.h>

#include "fuzz.h"

static jmp_buf parsed;
static int status;

__attribute__((noreturn)) static void leave(int with)
{
	status = with;
	longjmp(parsed, 1);
}

#define exit(with) leave(with)
#include "../cli/options.c"
#include "../cli/message.c"
#undef exit
#include "../cli/cmd-exec.c"	/* for {} */

#define MAX_WORDS	16

static uint64_t told_size;
static unsigned int told_number;
static const char *told_string;
static bool told_flag;
static int told_word;

static void set_word(const struct option_spec *option, const char *value)
{
	static const char *const words[] = { "auto", "write", "mmap" };

	told_word = option_choice(option, value);
	MUST(told_word >= 0 && told_word < 3 && !strcmp(value, words[told_word]));
}

static const struct option_spec table[] = {
	{ OPTION_FLAG, 'f', "flag", NULL, "a flag", &told_flag, NULL, NULL },
	{ OPTION_SIZE, 's', "size", "SIZE", "a size", &told_size, NULL, NULL },
	{ OPTION_NUMBER, 'n', "number", "N", "a number", &told_number, NULL, NULL },
	{ OPTION_STRING, 0, "string", "TEXT", "a string", &told_string, NULL, NULL },
	{ OPTION_CALL, 'w', "word", "WORD", "a word", NULL, set_word, "auto write mmap" },
	OPTIONS_COMMON
};

/* All that look like no option, and what is behind "--". */
static void check_operands(char **argv, int argc, int operand, bool runs_command)
{
	MUST(operand >= 1 && operand <= argc && !argv[argc]);
	for (int i = operand; i < argc; i++)
		MUST(argv[i]);
	if (!runs_command)
		for (int i = 1; i < argc && !strcmp(argv[i], "--"); i++)
			MUST(operand > i || argc > i);
}

/* Too large for a number is none. */
static void must_be(const char *text, uint64_t size)
{
	unsigned __int128 value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, text[0] == '0' && (text[1] | 0x20) == 'x' ? 16 : 10);
	MUST(!errno);
	for (const char *unit = "KMGT"; *end && *unit; unit++) {
		value <<= 10;
		if ((*end & ~0x20) == *unit)
			break;
	}
	MUST(value == size);
}

static void check_size(const char *text)
{
	char shown[32];
	uint64_t size;

	if (!parse_size(text, &size))
		return;
	MUST(text[0] >= '0' && text[0] <= '9');
	must_be(text, size);
	MUST(format_size(shown, size) == shown && strlen(shown) < sizeof(shown));
	MUST(strstr(shown, "iB") || strstr(shown, " byte"));
	if (size < 1024) {
		MUST(strtoull(shown, NULL, 10) == size);
	} else {
		double near = strtod(shown, NULL);

		for (const char *unit = "KMGT"; *unit; unit++) {
			near *= 1024;
			if (strchr(shown, *unit))
				break;
		}
		MUST(near >= size * 0.94 && near <= size * 1.06);
	}
}

static void check_replace(const char *text)
{
	char *result = replace(text, "77");
	size_t braces = 0;

	MUST(result);
	for (const char *at = text; (at = strstr(at, "{}")); at += 2)
		braces++;
	MUST(strlen(result) == strlen(text) && (braces || !strcmp(result, text)));
	free(result);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct command_spec spec = { .synopsis = "", .about = "", .options = table, .operands = MAX_WORDS };
	char *words = malloc(size + 1), *argv[MAX_WORDS + 2] = { "fuzz" };
	int argc = 1, operand;

	MUST(words);
	memcpy(words, bytes, size);
	words[size] = '\0';
	spec.runs_command = size && bytes[0] & 1;
	for (char *at = words; at < words + size && argc <= MAX_WORDS; at += strlen(at) + 1)
		argv[argc++] = at;
	for (int i = 1; i < argc; i++) {
		check_size(argv[i]);
		check_replace(argv[i]);
	}

	status = -1;
	told_word = 0;
	command_name = "fuzz";
	if (!setjmp(parsed)) {
		operand = parse_options(argc, argv, &spec);
		check_operands(argv, argc, operand, spec.runs_command);
	} else {
		MUST(status == EXIT_USAGE || status == EXIT_OK);
	}
	free(words);
	return 0;
}
