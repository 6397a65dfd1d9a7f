// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Options: parse them, and print the help, from one table. */
#include <getopt.h>
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

enum gmem_method option_method(const struct option_spec *option, const char *value)
{
	int method = 0;

	option_choice(option, value);
	while (strcmp(gmem_method_name(method), value))
		method++;
	return method;
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

/* For the shells' completion, a line each: the option, its values (FILE; -: others), the help. */
static void print_completion(const struct command_spec *spec)
{
	const struct option_spec *o;
	const char *values;

	for (o = spec->options; o->type != OPTION_END; o++) {
		values = o->words ?: (o->type == OPTION_STRING ? "FILE" : "-");
		printf("--%s\t%s\t%s\n", o->name, o->arg ? values : "", o->help);
	}
	puts("--help\t\tthis, and how to use it");
}

static void set_option(const struct option_spec *o, const char *value)
{
	uint64_t number;

	switch (o->type) {
	case OPTION_FLAG:
		*(bool *)o->value = true;
		break;
	case OPTION_SIZE:
		if (!parse_size(value, o->value))
			die_option(o, value, "not a size such as 4096, 0x1000, 512M or 2G");
		break;
	case OPTION_NUMBER:
		if (!parse_number(value, &number) || number > UINT_MAX)
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

#define MAX_OPTIONS	40
#define BY_NAME		256	/* an option's value: this and its place; less is a letter */
#define HELP		(BY_NAME + MAX_OPTIONS)

/* The table, as getopt_long() wants it. */
struct getopt_table {
	char letters[2 * MAX_OPTIONS + 4];
	struct option names[MAX_OPTIONS + 2];
};

static void make_table(struct getopt_table *t, const struct command_spec *spec)
{
	const struct option_spec *o;
	char *letter = t->letters;
	int n = 0;

	memset(t, 0, sizeof(*t));
	if (spec->runs_command)
		*letter++ = '+';
	*letter++ = ':';
	*letter++ = 'h';
	for (o = spec->options; o->type != OPTION_END && n < MAX_OPTIONS; o++, n++) {
		t->names[n] = (struct option) { o->name, o->arg ? required_argument : no_argument, NULL, BY_NAME + n };
		if (o->letter)
			*letter++ = o->letter;
		if (o->letter && o->arg)
			*letter++ = ':';
	}
	t->names[n] = (struct option) { "help", no_argument, NULL, HELP };
}

static const struct option_spec *find_letter(const struct command_spec *spec, int letter)
{
	const struct option_spec *o;

	for (o = spec->options; o->type != OPTION_END; o++)
		if (o->letter == letter)
			return o;

	return NULL;
}

/* How many options begin with what the user wrote: a prefix will do if it is one's alone. */
static int count_prefixed(const struct getopt_table *t, const char *text)
{
	size_t len = strcspn(text, "=");
	int n = 0;
	size_t i;

	for (i = 0; t->names[i].name; i++)
		n += !strncmp(t->names[i].name, text, len);
	return n;
}

/* getopt_long() did not like it: @how is '?' or ':', @text what it looked at last. */
static void refuse(const struct getopt_table *t, const struct command_spec *spec, int how, const char *text)
{
	const struct option *name = optopt >= BY_NAME ? &t->names[optopt - BY_NAME] : NULL;
	const struct option_spec *o = find_letter(spec, optopt);

	if (optopt == HELP)
		die_usage("--help takes no value");
	if (name && how == ':')
		die_usage("--%s needs a value: %s", name->name, spec->options[optopt - BY_NAME].arg);
	if (name)
		die_usage("--%s takes no value", name->name);
	if (how == ':' && o)
		die_usage("-%c needs a value: %s", o->letter, o->arg);
	if (optopt)
		die_usage("no such option: -%c", optopt);
	if (count_prefixed(t, text + 2) > 1)
		die_usage("%s: several options begin like that: --help lists them", text);
	die_usage("no such option: %.*s", (int)strcspn(text, "="), text);
}

int parse_options(int argc, char **argv, const struct command_spec *spec)
{
	const struct option_spec *o;
	struct getopt_table table;
	int at, c, place;

	if (argc == 2 && !strcmp(argv[1], "--complete")) {
		print_completion(spec);
		exit(finish_output(EXIT_OK));
	}
	/* What is wrong with an option before it is told as JSON, too. */
	for (at = 1; at < argc && strcmp(argv[at], "--"); at++) {
		if (spec->runs_command && argv[at][0] != '-')
			break;
		output.json |= !strcmp(argv[at], "--json");
	}

	make_table(&table, spec);
	opterr = 0;
	optind = 0;
	for (;;) {
		place = -1;
		c = getopt_long(argc, argv, table.letters, table.names, &place);
		if (c < 0)
			break;
		if (c == '?' || c == ':')
			refuse(&table, spec, c, argv[optind - 1]);
		if (c == HELP || (place < 0 && c == 'h')) {
			print_help(argv[0], spec);
			exit(finish_output(EXIT_OK));
		}
		o = place < 0 ? find_letter(spec, c) : &spec->options[c - BY_NAME];
		if (place < 0)
			snprintf(written, sizeof(written), "-%c", o->letter);
		else
			snprintf(written, sizeof(written), "--%s", o->name);
		set_option(o, optarg);
	}
	written[0] = '\0';
	if (!spec->runs_command && argc - optind > spec->operands)
		die_usage("unexpected argument: %s", argv[optind + spec->operands]);
	return optind;
}
