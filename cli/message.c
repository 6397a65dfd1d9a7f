// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* What the commands have to say, but for their results. */
#include <stdlib.h>

#include "cli.h"

const char *command_name;
int exit_failed = EXIT_FAILED, exit_usage = EXIT_USAGE;

/* With --json also instead of a result, if it is why there is none. */
static void complain(const char *format, va_list args, bool no_result)
{
	char *text;

	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	end_progress();
	fprintf(stderr, "gmem%s%s: ", command_name ? " " : "", command_name ?: "");
	put_printable(stderr, text ?: "out of memory");
	fputc('\n', stderr);
	if (no_result && output.json) {
		json_result(text ?: "out of memory");
		json_end();
		fflush(stdout);
	}
	free(text);
}

void warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args, false);
	va_end(args);
}

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args, true);
	va_end(args);
	exit(exit_failed);
}

void die_usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args, true);
	va_end(args);
	fprintf(stderr, "See gmem%s%s --help.\n", command_name ? " " : "", command_name ?: "");
	exit(exit_usage);
}

int finish_output(int status)
{
	if (fflush(stdout) || ferror(stdout)) {
		perror("gmem: cannot write to stdout");
		return status ?: exit_failed;
	}
	return status;
}
