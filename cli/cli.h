/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* What the commands share. */
#ifndef CLI_H
#define CLI_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "gmem.h"

#define PRINTF(f, a)	__attribute__((format(printf, f, a)))
#define NORETURN	__attribute__((noreturn))
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Exit statuses. */
enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,		/* the command line is wrong */
	EXIT_NO = 3,		/* gmem probe: nothing here can be populated */
};

/* What die() and die_usage() exit with: those, unless a command's status is another's. */
extern int exit_failed, exit_usage;

/*
 * Commands, one file each: cmd-NAME.c.  argv[0] is the command's name; returns
 * the exit status.
 */
int cmd_bench(int argc, char **argv);
int cmd_exec(int argc, char **argv);
int cmd_load(int argc, char **argv);
int cmd_probe(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);

/*
 * Messages: message.c
 */

extern const char *command_name;	/* or NULL */

/* One line on stderr, "gmem NAME: ...", with --json also a result on stdout, and exit. */
void die(const char *format, ...) PRINTF(1, 2) NORETURN;
void die_usage(const char *format, ...) PRINTF(1, 2) NORETURN;
void warn(const char *format, ...) PRINTF(1, 2);

/* What was printed must have arrived: a full disk is a failure. Returns the exit status. */
int finish_output(int status);

/*
 * Text that others have a say in, such as the names of files: text.c
 */

/* How many bytes the UTF-8 character at @text has, 0 if that is none. */
size_t utf8_length(const char *text);

/* What would do something to a terminal is shown as \xNN, a newline as \n. */
void put_printable(FILE *to, const char *text);

/*
 * Options: options.c
 *
 * A command describes itself by a table of options, which is also what its
 * --help and the shell's completion are made from.
 */

enum option_type {
	OPTION_END,
	OPTION_FLAG,		/* bool: becomes true */
	OPTION_SIZE,		/* uint64_t: 4096, 0x1000, 4K, 512M, 2G; see units.c */
	OPTION_NUMBER,		/* unsigned int */
	OPTION_STRING,		/* const char * */
	OPTION_CALL,		/* call(option, value): anything else */
};

struct option_spec {
	enum option_type type;
	char letter;		/* 0 if it has none */
	const char *name;
	const char *arg;	/* how --help calls the value: "SIZE"; NULL: it takes none */
	const char *help;
	void *value;
	void (*call)(const struct option_spec *option, const char *value);
	const char *words;	/* for completion: the values, "a b c"; NULL: files */
};

struct command_spec {
	const char *synopsis;	/* after "gmem NAME " */
	const char *about;	/* one or more lines */
	const struct option_spec *options;	/* up to OPTION_END */
	int operands;		/* at most */
	bool runs_command;	/* as operands, with options of its own */
};

/* The options that every command has, as the last ones in its table. */
/* clang-format off */
#define OPTIONS_COMMON \
	{ OPTION_FLAG, 0, "json", NULL, "the result as JSON, for programs", &output.json, NULL, NULL }, \
	{ OPTION_FLAG, 'q', "quiet", NULL, "nothing but errors, and the JSON if asked for", &output.quiet, NULL, NULL }, \
	{ OPTION_END, 0, NULL, NULL, NULL, NULL, NULL, NULL }
/* clang-format on */

struct output {
	bool json;
	bool quiet;
};

extern struct output output;

/*
 * Handles the options up to "--", and moves the operands to the end of argv.
 * Returns their index there.  Errors, --help: it does not return.
 */
int parse_options(int argc, char **argv, const struct command_spec *spec);

/* A value was given, and is wrong: "--size 12Q: not a size such as 512M". */
void die_option(const struct option_spec *option, const char *value, const char *why) NORETURN;

/* The place of the value among the option's words, from 0 on. */
int option_choice(const struct option_spec *option, const char *value);

/* The method of that name, which is one of the option's words. */
enum gmem_method option_method(const struct option_spec *option, const char *value);

/*
 * Units: units.c
 */

/* "512M", "2G", "0x1000", "4096": decimal but for 0x, powers of 1024. */
bool parse_size(const char *text, uint64_t *size);

/* The same without a unit. */
bool parse_number(const char *text, uint64_t *number);

/* "512 MiB", "1.5 GiB", "37 bytes"; in a buffer of the caller's, returned. */
const char *format_size(char buffer[32], uint64_t size);

/*
 * Images: format.c
 */

enum format {
	FORMAT_AUTO,
	FORMAT_RAW,
	FORMAT_ZSTD,
};

/* By how it begins, which is not taken from it; dies if it is something else. */
enum format find_format(int image, const char *path);

/*
 * Progress: progress.c
 */

/* Draws a bar on a terminal if it takes long. As gmem_progress_fn; arg: a word for it. */
int show_progress(const struct gmem_progress *progress, void *arg);

/* Wipes the bar. */
void end_progress(void);

/*
 * JSON: json.c.  Every result is an object that begins with "command", "ok" and
 * "error", a sentence or null.  Key NULL: an element of an array.
 */
void json_result(const char *error);
void json_object(const char *key);
void json_array(const char *key);
void json_end(void);		/* of what was begun last */
void json_string(const char *key, const char *value);
void json_uint(const char *key, uint64_t value);
void json_double(const char *key, double value);
void json_bool(const char *key, bool value);
void json_null(const char *key);

/*
 * Guest memory: memory.c
 */

/* A guest_memfd of a VM of its own, with all flags that help to populate it, and @also. */
int make_guest_memory(struct gmem_context *g, uint64_t size, uint64_t also);

/* --order @path, if not NULL; dies if there is no such order. */
void set_order(struct gmem_context *g, const char *path);

#endif /* CLI_H */
