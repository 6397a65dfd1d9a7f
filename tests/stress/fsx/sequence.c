// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sequences of operations as text: one a line, its name and its arguments.
 */
#include <string.h>

#include "fsx.h"

static const char delimiters[] = " \t\r\n";

void print_op(FILE *out, const struct op *op, const char *after)
{
	const struct op_kind *kind = &op_kinds[op->kind];
	int i;

	fputs(kind->name, out);
	for (i = 0; i < kind->nr_args; i++)
		fprintf(out, " %ld", op->args[i]);
	fputs(after, out);
}

void print_sequence(FILE *out, const struct op *ops, int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		print_op(out, &ops[i], "\n");
}

static bool parse_op(char *line, struct op *op)
{
	char *word = strtok(line, delimiters), *end;
	int i;

	*op = (struct op) { .kind = op_kind(word) };
	if (op->kind == nr_op_kinds)
		return false;

	for (i = 0; i < op_kinds[op->kind].nr_args; i++) {
		word = strtok(NULL, delimiters);
		if (!word)
			return false;
		op->args[i] = strtol(word, &end, 0);
		if (*end)
			return false;
	}
	return !strtok(NULL, delimiters);
}

/* Lines that are empty or begin with # are skipped. Returns -1 after a message. */
int read_sequence(const char *path, struct op *ops)
{
	FILE *in = strcmp(path, "-") ? fopen(path, "r") : stdin;
	int nr = 0, line_nr = 0;
	char line[256];

	if (!in) {
		fprintf(stderr, "fsx: %s: %s\n", path, strerror(errno));
		return -1;
	}

	while (fgets(line, sizeof(line), in)) {
		line_nr++;
		if (line[0] == '#' || !line[strspn(line, delimiters)])
			continue;
		if (nr == MAX_STINT || !parse_op(line, &ops[nr])) {
			fprintf(stderr, "fsx: %s:%d: %s\n", path, line_nr,
				nr == MAX_STINT ? "too many operations" :
				"not an operation, or not with these arguments");
			nr = -1;
			break;
		}
		nr++;
	}
	fclose(in);

	if (nr >= 0 && (!nr || strcmp(op_kinds[ops[0].kind].name, "new"))) {
		fprintf(stderr, "fsx: %s: a sequence begins with new FLAGS PAGES\n", path);
		return -1;
	}
	return nr;
}
