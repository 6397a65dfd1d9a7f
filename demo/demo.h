/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* What the parts of the demo program share. */
#ifndef DEMO_H
#define DEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIB	(1024.0 * 1024.0)
#define RUNS	5

/* image.c: what guest memory is populated with */
struct image {
	void *bytes;
	size_t size;
};

struct image image_read(const char *path);

/* gmem.c: guest_memfd, and the ways to populate it */
enum { BY_MEMCPY, BY_MADVISE, BY_WRITE, METHODS };

struct method {
	const char *name;	/* as in the JSON file */
	const char *label;	/* as in the table */
	void *(*populate)(int gmem, const struct image *image);
	int published_ms;	/* by others, for 512 MiB on an x86 server; or 0 */
	double runs_ms[RUNS];
};

int kvm_open(void);
int vm_open(int kvm);
int gmem_create(int vm, size_t size);
void *gmem_map(int gmem, size_t size, int prot);
/* These return the mapping that they leave of the guest_memfd, or NULL. */
void *populate_by_memcpy(int gmem, const struct image *image);
void *populate_by_madvise(int gmem, const struct image *image);
void *populate_by_write(int gmem, const struct image *image);
bool verify(const void *mapping, const struct image *image);

/* guest.c: a virtual machine that adds up its memory */
struct guest_sum {
	uint64_t sum;
	double ms;
	bool ok;		/* it is what the host comes to */
};

struct guest_sum guest_sum(int kvm, int vm, int gmem, const struct image *image);

/* machine.c: what all of this runs on */
struct machine {
	char kernel[65];
	char cpu[256];
	const char *host_cpu;	/* below an emulated one; NULL if not known */
	const char *accel;	/* tcg, kvm, another's signature, or none */
	bool fast_rep_movsb;	/* claims that rep movsb is fast */
};

struct machine machine_identify(const char *host_cpu);
double now_ms(void);

/* report.c */
struct result {
	struct machine machine;
	size_t size;
	const struct method *methods;
	bool verified;
	struct guest_sum guest;
};

void report_table(const struct result *r);
void report_json(const struct result *r, const char *path);

#endif
