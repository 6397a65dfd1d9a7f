// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* What the commands have to say, but for their results. */
#include <stdlib.h>

#include "cli.h"

const char *command_name;
int exit_failed = EXIT_FAILED, exit_usage = EXIT_USAGE;

static char *format_message(const char *format, va_list args)
{
	char *text;

	return vasprintf(&text, format, args) < 0 ? NULL : text;
}

static void complain(const char *text)
{
	end_progress();
	fprintf(stderr, "gmem%s%s: ", command_name ? " " : "", command_name ?: "");
	put_printable(stderr, text ?: "out of memory");
	fputc('\n', stderr);
}

/* Instead of a result. */
static void fail(char *text)
{
	complain(text);
	if (output.json) {
		json_result(text ?: "out of memory");
		json_end();
		fflush(stdout);
	}
	free(text);
}

void warn(const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = format_message(format, args);
	va_end(args);
	complain(text);
	free(text);
}

void die(const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = format_message(format, args);
	va_end(args);
	fail(text);
	exit(exit_failed);
}

void die_usage(const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = format_message(format, args);
	va_end(args);
	fail(text);
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
