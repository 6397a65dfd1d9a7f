// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* gmem probe: what this kernel can do, and why not what it can't. */
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli.h"
#include "lib/shared.h"

static const struct option_spec options[] = {
	OPTIONS_COMMON
};

static const struct command_spec spec = {
	.synopsis = "[OPTION]...",
	.about = "Tell what this machine's KVM can do for guest memory, and why not what it can't.\n"
		 "Exit status: 0 if guest memory can be populated here, 3 if not.",
	.options = options,
};

/*
 * How this machine could get write().  What KVM can do is asked of KVM, but not what it
 * could: Debian's kernels of the series that gmem-dkms builds for go by their names.
 */
static const char *way_to_write(const char *release)
{
#ifdef __x86_64__
	unsigned int major, minor;
	char file[128];

	if (sscanf(release, "%u.%u.", &major, &minor) != 2 || !strstr(release, "+deb"))
		return "write() needs a KVM with this project's change, as gmem-dkms builds for Debian's Linux 7.3 and 7.2";
	if (major != 7 || (minor != 3 && minor != 2))
		return "write() needs Linux 7.3 or 7.2 (on Debian 13: of trixie-backports) and the package gmem-dkms";

	snprintf(file, sizeof(file), "/lib/modules/%s/updates/dkms/kvm.ko.xz", release);
	if (access(file, F_OK))
		return "write() comes to this kernel with the package gmem-dkms (see its README.Debian)";
	return "gmem-dkms has built KVM with write() for this kernel: load that, or reboot (see its README.Debian)";
#else
	(void)release;
	return "write() needs a kernel that is built with this project's patches: KVM is no module here";
#endif
}

static void print_json(const char *release, const struct gmem_probe *probe, enum gmem_method method)
{
	const struct gmem_feature *f;
	size_t i;

	json_result(NULL);
	json_string("kernel", release);
	if (method)
		json_string("method", gmem_method_name(method));
	else
		json_null("method");
	if (method != GMEM_METHOD_WRITE)
		json_string("advice", way_to_write(release));
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

static void print_table(const char *release, const struct gmem_probe *probe, enum gmem_method method)
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
		printf("\ngmem populates guest memory by %s here.\n", gmem_method_name(method));
	else
		printf("\nNothing can populate guest memory here.\n");
	if (method != GMEM_METHOD_WRITE)
		puts(way_to_write(release));
}

int cmd_probe(int argc, char **argv)
{
	struct gmem_probe *probe;
	struct utsname uts;
	enum gmem_method method;	/* auto: none */
	struct gmem_context *g;
	int err;

	parse_options(argc, argv, &spec);
	if (gmem_context_new(&g))
		die("out of memory");
	err = gmem_probe(g, -1, &probe);
	if (err)
		die("%s", gmem_error(g));

	uname(&uts);
	/* A guest_memfd is made with all that there is. */
	method = default_method(gmem_probe_flags(probe) & GMEM_FLAG_WRITE, gmem_probe_flags(probe) & GMEM_FLAG_MMAP);
	if (output.json)
		print_json(uts.release, probe, method);
	else if (!output.quiet)
		print_table(uts.release, probe, method);

	gmem_probe_free(probe);
	gmem_context_free(g);
	return method ? EXIT_OK : EXIT_NO;
}
