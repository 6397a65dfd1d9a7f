// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* What the commands have to say, but for their results. */
#include <stdlib.h>

#include "cli.h"

const char *command_name;

static void complain(const char *format, va_list args)
{
	char *text;

	end_progress();
	fprintf(stderr, "gmem%s%s: ", command_name ? " " : "", command_name ?: "");
	if (vasprintf(&text, format, args) < 0) {
		fputs("out of memory\n", stderr);
		return;
	}
	put_printable(stderr, text);
	fputc('\n', stderr);
	free(text);
}

void warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args);
	va_end(args);
}

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args);
	va_end(args);
	exit(EXIT_FAILED);
}

void die_usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args);
	va_end(args);
	fprintf(stderr, "See gmem%s%s --help.\n", command_name ? " " : "", command_name ?: "");
	exit(EXIT_USAGE);
}

int finish_output(int status)
{
	if (fflush(stdout) || ferror(stdout)) {
		perror("gmem: cannot write to stdout");
		return status ?: EXIT_FAILED;
	}
	return status;
}
