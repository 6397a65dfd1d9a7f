// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Populate real KVM guest memory from a RAM image, by mmap() + memcpy(), the same
 * after MADV_POPULATE_WRITE, and by write(), tell which takes how long, and have a
 * guest read the result.
 */
#include <err.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "demo.h"

static const char help[] =
	"Usage: populate [OPTION]... IMAGE\n"
	"\n"
	"Populate fresh guest_memfd memory from IMAGE, a guest's RAM image in a file or on\n"
	"a block device, by mmap() + memcpy(), the same after MADV_POPULATE_WRITE, and by\n"
	"write(), alternating, five times each after a warm-up. Verify every byte, print\n"
	"the times, then start a virtual machine on memory populated by write() that adds\n"
	"it all up. Needs a Linux whose KVM has GUEST_MEMFD_FLAG_WRITE.\n"
	"\n"
	"  --json FILE      write the figures to FILE, too\n"
	"  --host-cpu NAME  what an emulated processor runs on, for the report\n"
	"  -h, --help       this text\n"
	"\n"
	"Exit status: 0 if all bytes and the guest's sum are right, 2 if the command line\n"
	"is not, else 1.\n";

/* One run on a fresh guest_memfd. Returns the time it took, in ms. */
static double run(int vm, const struct method *method, const struct image *image, bool *verified)
{
	double start, ms;
	void *mapping;
	int gmem;

	gmem = gmem_create(vm, image->size);
	start = now_ms();
	mapping = method->populate(gmem, image);
	ms = now_ms() - start;

	if (!mapping)
		mapping = gmem_map(gmem, image->size, PROT_READ);
	*verified &= verify(mapping, image);

	munmap(mapping, image->size);
	close(gmem);
	return ms;
}

static bool compare(int vm, struct method *methods, const struct image *image)
{
	bool verified = true;
	int i, m;

	fprintf(stderr, "warming up\n");
	for (m = 0; m < METHODS; m++)
		run(vm, &methods[m], image, &verified);

	for (i = 0; i < RUNS; i++) {
		fprintf(stderr, "run %d of %d:", i + 1, RUNS);
		for (m = 0; m < METHODS; m++) {
			methods[m].runs_ms[i] = run(vm, &methods[m], image, &verified);
			fprintf(stderr, "%s %s %.1f ms", m ? "," : "", methods[m].label,
				methods[m].runs_ms[i]);
		}
		fprintf(stderr, "\n");
	}

	return verified;
}

static struct guest_sum start_guest(int kvm, int vm, const struct image *image)
{
	int gmem;

	fprintf(stderr, "starting a guest on memory populated by write()\n");
	gmem = gmem_create(vm, image->size);
	populate_by_write(gmem, image);

	return guest_sum(kvm, vm, gmem, image);
}

static void bad_usage(void)
{
	fprintf(stderr, "Try populate --help.\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", required_argument, NULL, 'j' },
		{ "host-cpu", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct method methods[METHODS] = {
		[BY_MEMCPY] = { "memcpy", "mmap + memcpy", populate_by_memcpy, 436, {} },
		[BY_MADVISE] = { "madvise", "after madvise", populate_by_madvise, 0, {} },
		[BY_WRITE] = { "write", "write()", populate_by_write, 202, {} },
	};
	struct result result = { .methods = methods };
	const char *json = NULL, *host_cpu = NULL;
	struct image image;
	int opt, kvm, vm;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 'j':
			json = optarg;
			break;
		case 'c':
			host_cpu = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		default:
			bad_usage();
		}
	}
	if (argc - optind != 1) {
		warnx(argc == optind ? "which IMAGE?" : "one IMAGE at a time");
		bad_usage();
	}

	kvm = kvm_open();
	vm = vm_open(kvm);
	image = image_read(argv[optind]);

	result.machine = machine_identify(host_cpu);
	result.size = image.size;
	result.verified = compare(vm, methods, &image);
	result.guest = start_guest(kvm, vm, &image);

	report_table(&result);
	if (json)
		report_json(&result, json);

	return result.verified && result.guest.ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
