// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* gmem probe: what this kernel can do, and why not what it can't. */
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli.h"

static const struct option_spec options[] = {
	OPTIONS_COMMON
};

static const struct command_spec spec = {
	.synopsis = "[OPTION]...",
	.about = "Tell what this machine's KVM can do for guest memory, and why not what it can't.\n"
		 "Exit status: 0 if guest memory can be populated here, 3 if not.",
	.options = options,
};

static void print_json(const char *release, const struct gmem_probe *probe, const char *method)
{
	const struct gmem_feature *f;
	size_t i;

	json_result(NULL);
	json_string("kernel", release);
	if (method)
		json_string("method", method);
	else
		json_null("method");
	json_array("features");
	for (i = 0; (f = gmem_probe_feature(probe, i)); i++) {
		json_object(NULL);
		json_string("name", f->name);
		json_string("about", f->about);
		json_bool("supported", f->supported);
		if (!f->supported)
			json_string("why", f->why);
		json_end();
	}
	json_end();
	json_end();
}

static void print_table(const char *release, const struct gmem_probe *probe, const char *method)
{
	const struct gmem_feature *f;
	const char *last = "";
	size_t i;

	printf("Linux %s\n\n", release);
	for (i = 0; (f = gmem_probe_feature(probe, i)); i++) {
		printf("%-31s %-3s  %s\n", f->name, f->supported ? "yes" : "no", f->about);
		if (!f->supported && strcmp(f->why, last))
			printf("%-31s      %s\n", "", f->why);
		last = f->supported ? "" : f->why;
	}
	if (method)
		printf("\ngmem populates guest memory by %s here.\n", method);
	else
		printf("\nNothing can populate guest memory here.\n");
}

/* How a guest_memfd made with all that there is would be populated. */
static const char *method_for(uint64_t flags)
{
	if (flags & GMEM_FLAG_WRITE)
		return "write";
	return flags & GMEM_FLAG_MMAP ? "mmap" : NULL;
}

int cmd_probe(int argc, char **argv)
{
	int operand = parse_options(argc, argv, &spec), err;
	struct gmem_probe *probe;
	struct utsname uts;
	const char *method;
	struct gmem *g;

	if (argv[operand])
		die_usage("unexpected argument: %s", argv[operand]);

	if (gmem_new(&g))
		die("out of memory");
	err = gmem_probe(g, -1, &probe);
	if (err)
		die("%s", gmem_error(g));

	uname(&uts);
	method = method_for(gmem_probe_flags(probe));
	if (output.json)
		print_json(uts.release, probe, method);
	else if (!output.quiet)
		print_table(uts.release, probe, method);

	gmem_probe_free(probe);
	gmem_free(g);
	return method ? EXIT_OK : EXIT_NO;
}
