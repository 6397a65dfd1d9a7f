// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* gmem: populate KVM guest memory. Finds the command, and has it run. */
#include <string.h>

#include "cli.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *about;
} commands[] = {
	{ "bench", cmd_bench, "measure mmap + memcpy against write()" },
	{ "exec", cmd_exec, "run a program with guest memory as a file descriptor" },
	{ "load", cmd_load, "populate guest memory from an image, and report" },
	{ "probe", cmd_probe, "tell what this kernel can do, and why not what it can't" },
#ifdef __x86_64__
	{ "run", cmd_run, "boot Linux on guest memory, or go on with a saved machine" },
	{ "snapshot", cmd_snapshot, "save a machine that gmem run runs" },
#endif
};

/* Those that are there elsewhere. */
static void refuse_x86_only(const char *name)
{
#ifndef __x86_64__
	if (!strcmp(name, "run") || !strcmp(name, "snapshot")) {
		command_name = name;
		die("x86-64 only");
	}
#else
	(void)name;
#endif
}

static void usage(FILE *to)
{
	size_t i;

	fprintf(to, "Usage: gmem COMMAND [OPTION]...\n\n"
		    "Populate KVM guest memory (guest_memfd), the fastest way the kernel offers.\n\n"
		    "Commands:\n");
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].about);
	fprintf(to, "\n"
		    "gmem help COMMAND has the rest, and gmem(1). -V, --version prints the version.\n"
		    "Exit status: 0, 1 if the command failed, 2 if the command line is wrong.\n");
}

/* For the shells' completion, as print_completion() in options.c. */
static int list_commands(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		printf("%s\t\t%s\n", commands[i].name, commands[i].about);
	puts("help\t\thow to use a command\n--help\t\twhat commands there are\n--version\t\tthe version");
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	size_t i;

	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "help") && argv[2]) {
		argv[1] = argv[2];
		argv[2] = "--help";
	} else if (!strcmp(argv[1], "help")) {
		argv[1] = "--help";
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		usage(stdout);
		return finish_output(EXIT_OK);
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("gmem %s\n", gmem_version());
		return finish_output(EXIT_OK);
	}
	if (!strcmp(argv[1], "--complete"))
		return finish_output(list_commands());

	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(argv[1], commands[i].name)) {
			command_name = argv[1];
			return finish_output(commands[i].run(argc - 1, argv + 1));
		}
	}
	refuse_x86_only(argv[1]);
	die_usage("no such %s: %s", argv[1][0] == '-' ? "option" : "command", argv[1]);
}
