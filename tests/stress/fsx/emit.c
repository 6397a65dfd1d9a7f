// SPDX-License-Identifier: GPL-2.0-only
/*
 * Print a sequence as a C program that needs nothing but Linux's headers.  It has
 * the very functions that played the sequence here.
 */
#include <string.h>

#include "fsx.h"

/* tests/stress/compile compiles in stress/. */
#define EMBED(name)							\
	__asm__(".pushsection .rodata\n"				\
		"embedded_" #name ":\n"					\
		".incbin \"fsx/play-" #name ".c\"\n"			\
		".byte 0\n"						\
		".popsection\n");					\
	extern const char embedded_##name[]

EMBED(file);
EMBED(uring);
EMBED(pipe);
EMBED(guest);
EMBED(process);

__asm__(".pushsection .rodata\n"
	"embedded_header:\n"
	".incbin \"fsx/play.h\"\n"
	".byte 0\n"
	".popsection\n");
extern const char embedded_header[];

static const struct {
	const char *name, *text;
} parts[] = {
	{ "play-uring.c",	embedded_uring },
	{ "play-pipe.c",	embedded_pipe },
	{ "play-guest.c",	embedded_guest },
	{ "play-process.c",	embedded_process },
};

/* All but the inclusion of what is in the same program already. */
static void print_part(FILE *out, const char *text)
{
	const char *end;

	for (; *text; text = end + 1) {
		end = strchr(text, '\n');
		if (strncmp(text, "#include \"", 10) && strncmp(text, "// SPDX", 7) &&
		    strncmp(text, "/* SPDX", 7))
			fprintf(out, "%.*s\n", (int)(end - text), text);
	}
}

static bool is_needed(const struct attempt *last, const char *part)
{
	int i;

	for (i = 0; i < last->nr; i++)
		if (op_kinds[last->ops[i].kind].part &&
		    !strcmp(op_kinds[last->ops[i].kind].part, part))
			return true;

	return !strcmp(part, "play-guest.c") && strstr(last->call, "guest");
}

static void print_number(FILE *out, long number)
{
	const char *name = number < 0 ? strerrorname_np(-number) : NULL;

	if (name)
		fprintf(out, "-%s", name);
	else
		fprintf(out, "%ld", number);
}

static void print_check(FILE *out, long want)
{
	fputs("	CHECK(", out);
	print_number(out, want);
	fputs(", ", out);
}

void print_program(FILE *out, const struct attempt *last, const char *title)
{
	unsigned int i;
	int nth;

	fprintf(out, "// SPDX-License-Identifier: GPL-2.0-only\n"
		     "/*\n * %s\n *\n"
		     " * Exits with 1 if anything differs from what it should be.\n */\n"
		     "#define _GNU_SOURCE\n", title);
	print_part(out, embedded_header);
	print_part(out, embedded_file);
	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (is_needed(last, parts[i].name))
			print_part(out, parts[i].text);

	fputs("\nstatic int differences;\n\n"
	      "static void check(int line, const char *call, long want, long got)\n"
	      "{\n"
	      "	if (want == got)\n"
	      "		return;\n\n"
	      "	differences++;\n"
	      "	printf(\"line %d: %s is %ld, not %ld\\n\", line, call, got, want);\n"
	      "}\n\n"
	      "#define CHECK(want, call)	check(__LINE__, #call, want, call)\n\n"
	      "int main(void)\n"
	      "{\n"
	      "	world.patient = true;\n", out);
	for (nth = 0; nth < last->nr; nth++) {
		/* The one that fails does not get as far as to say that it applies. */
		if (!last->applied[nth] && nth < last->nr - 1)
			continue;
		if (!strcmp(op_kinds[last->ops[nth].kind].name, "look"))
			continue;
		print_check(out, last->wants[nth]);
		fputs("play_", out);
		print_op(out, &last->ops[nth], "(", ", ", "));\n");
	}
	if (last->call[0]) {
		print_check(out, last->want);
		fprintf(out, "%s);	/* %s */\n", last->call, last->what);
	}
	fputs("\n	if (!differences)\n"
	      "		puts(\"all is as it should be\");\n"
	      "	return !!differences;\n"
	      "}\n", out);
}
