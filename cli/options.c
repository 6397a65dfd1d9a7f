// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Options: parse them, and print the help, from one table. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

struct output output;

/* How the user wrote it; there is one command line. */
static char written[64];

void die_option(const struct option_spec *option, const char *value, const char *why)
{
	if (written[0])
		die_usage("%s %s: %s", written, value, why);
	die_usage("--%s %s: %s", option->name, value, why);
}

int option_choice(const struct option_spec *option, const char *value)
{
	const char *word = option->words;
	char why[128];
	size_t len;
	int i;

	for (i = 0; *word; i++) {
		len = strcspn(word, " ");
		if (!strncmp(word, value, len) && !value[len])
			return i;
		word += len + strspn(word + len, " ");
	}
	snprintf(why, sizeof(why), "one of: %s", option->words);
	die_option(option, value, why);
}

static void print_help(const char *command, const struct command_spec *spec)
{
	const struct option_spec *o;
	char left[64];

	printf("Usage: gmem %s %s\n\n%s\n\nOptions:\n", command, spec->synopsis, spec->about);
	for (o = spec->options; o->type != OPTION_END; o++) {
		snprintf(left, sizeof(left), "%c%c%c --%s%s%s", o->letter ? '-' : ' ',
			 o->letter ?: ' ', o->letter ? ',' : ' ', o->name,
			 o->arg ? " " : "", o->arg ?: "");
		printf("  %-25s %s\n", left, o->help);
	}
}

/* For the shell's completion: an option a line, and what its values are. */
static void print_completion(const struct command_spec *spec)
{
	const struct option_spec *o;

	for (o = spec->options; o->type != OPTION_END; o++) {
		printf("--%s", o->name);
		if (o->arg)
			printf("=%s", o->words ?: o->type == OPTION_STRING ? "FILE" : "");
		putchar('\n');
	}
	puts("--help");
}

static void set_option(const struct option_spec *o, const char *value)
{
	unsigned long number;
	char *end;

	switch (o->type) {
	case OPTION_FLAG:
		*(bool *)o->value = true;
		break;
	case OPTION_SIZE:
		if (!parse_size(value, o->value))
			die_option(o, value, "not a size such as 4096, 0x1000, 512M or 2G");
		break;
	case OPTION_NUMBER:
		errno = 0;
		number = strtoul(value, &end, 0);
		if (errno || !isdigit((unsigned char)*value) || *end || number > UINT_MAX)
			die_option(o, value, "not a number");
		*(unsigned int *)o->value = number;
		break;
	case OPTION_STRING:
		*(const char **)o->value = value;
		break;
	case OPTION_CALL:
		o->call(o, value);
		break;
	case OPTION_END:
		break;
	}
}

static const struct option_spec *find_long(const struct command_spec *spec, const char *name, size_t len)
{
	const struct option_spec *o;

	for (o = spec->options; o->type != OPTION_END; o++)
		if (strlen(o->name) == len && !strncmp(o->name, name, len))
			return o;

	return NULL;
}

static const struct option_spec *find_letter(const struct command_spec *spec, char letter)
{
	const struct option_spec *o;

	for (o = spec->options; o->type != OPTION_END; o++)
		if (o->letter == letter)
			return o;

	return NULL;
}

static void too_much(const char *what)
{
	die_usage("%s takes no value", what);
}

/* --name, --name VALUE, --name=VALUE; returns how many of argv that is. */
static int parse_long(char **argv, const struct command_spec *spec)
{
	const char *name = argv[0] + 2, *equals = strchrnul(name, '=');
	const struct option_spec *o = find_long(spec, name, equals - name);

	snprintf(written, sizeof(written), "%.*s", (int)(equals - argv[0]), argv[0]);
	if (!o)
		die_usage("no such option: %s", written);
	if (!o->arg) {
		if (*equals)
			too_much(written);
		set_option(o, NULL);
		return 1;
	}
	if (*equals) {
		set_option(o, equals + 1);
		return 1;
	}
	if (!argv[1])
		die_usage("%s needs a value: %s", written, o->arg);
	set_option(o, argv[1]);
	return 2;
}

/* -q, -n VALUE, -nVALUE. */
static int parse_letter(char **argv, const struct command_spec *spec)
{
	const struct option_spec *o = find_letter(spec, argv[0][1]);

	snprintf(written, sizeof(written), "-%c", argv[0][1]);
	if (!o)
		die_usage("no such option: %s", written);
	if (!o->arg) {
		if (argv[0][2])
			too_much(written);
		set_option(o, NULL);
		return 1;
	}
	if (argv[0][2]) {
		set_option(o, argv[0] + 2);
		return 1;
	}
	if (!argv[1])
		die_usage("%s needs a value: %s", written, o->arg);
	set_option(o, argv[1]);
	return 2;
}

int parse_options(int argc, char **argv, const struct command_spec *spec)
{
	char *operands[argc];
	int i = 1, n = 0;

	if (argc == 2 && !strcmp(argv[1], "--complete")) {
		print_completion(spec);
		exit(finish_output(EXIT_OK));
	}
	while (i < argc) {
		if (!strcmp(argv[i], "--")) {
			i++;
			break;
		}
		if (argv[i][0] != '-' || !argv[i][1]) {
			if (spec->runs_command)
				break;
			operands[n++] = argv[i++];
		} else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			print_help(argv[0], spec);
			exit(finish_output(EXIT_OK));
		} else if (argv[i][1] == '-') {
			i += parse_long(argv + i, spec);
		} else {
			i += parse_letter(argv + i, spec);
		}
	}
	written[0] = '\0';

	/* Those that came between the options, in front of the rest. */
	i -= n;
	memcpy(argv + i, operands, n * sizeof(*operands));
	return i;
}
