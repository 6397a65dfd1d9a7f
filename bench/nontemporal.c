// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Would stores that bypass the caches help the write engine? Copy a buffer page
 * by page with ordinary and with non-temporal stores, then read the copy as a
 * guest would, at this processor's own speed. Prints a line for each:
 *
 *   STORES  bytes  microseconds to copy (median)  microseconds to read it then
 */
#include <err.h>
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE	4096ul
#define LARGEST	(512ul << 20)
#define ROUNDS	9

/* What copy_from_user() does on a processor with fast short rep movsb. */
static void copy_rep_movsb(void *to, const void *from)
{
	size_t n = PAGE;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

/* What it does elsewhere: a loop of 64 bytes. */
static void copy_movq(void *to, const void *from)
{
	size_t n = PAGE / 64;

	__asm__ volatile("1: movq (%1), %%r8; movq 8(%1), %%r9; movq 16(%1), %%r10; movq 24(%1), %%r11\n"
			 "movq %%r8, (%0); movq %%r9, 8(%0); movq %%r10, 16(%0); movq %%r11, 24(%0)\n"
			 "movq 32(%1), %%r8; movq 40(%1), %%r9; movq 48(%1), %%r10; movq 56(%1), %%r11\n"
			 "movq %%r8, 32(%0); movq %%r9, 40(%0); movq %%r10, 48(%0); movq %%r11, 56(%0)\n"
			 "add $64, %1; add $64, %0; dec %2; jnz 1b"
			 : "+r"(to), "+r"(from), "+r"(n) : : "r8", "r9", "r10", "r11", "memory");
}

/* What copy_from_iter_nocache() does, and an sfence at the end. */
static void copy_movnti(void *to, const void *from)
{
	size_t n = PAGE / 64;

	__asm__ volatile("1: movq (%1), %%r8; movq 8(%1), %%r9; movq 16(%1), %%r10; movq 24(%1), %%r11\n"
			 "movnti %%r8, (%0); movnti %%r9, 8(%0); movnti %%r10, 16(%0); movnti %%r11, 24(%0)\n"
			 "movq 32(%1), %%r8; movq 40(%1), %%r9; movq 48(%1), %%r10; movq 56(%1), %%r11\n"
			 "movnti %%r8, 32(%0); movnti %%r9, 40(%0); movnti %%r10, 48(%0); movnti %%r11, 56(%0)\n"
			 "add $64, %1; add $64, %0; dec %2; jnz 1b; sfence"
			 : "+r"(to), "+r"(from), "+r"(n) : : "r8", "r9", "r10", "r11", "memory");
}

/* The most that such stores can give. The kernel does not use vector registers. */
__attribute__((target("avx2")))
static void copy_vmovntdq(void *to, const void *from)
{
	const __m256i *src = from;
	__m256i *dst = to;
	size_t i;

	for (i = 0; i < PAGE / sizeof(*src); i += 4) {
		__m256i a = _mm256_load_si256(src + i), b = _mm256_load_si256(src + i + 1);
		__m256i c = _mm256_load_si256(src + i + 2), d = _mm256_load_si256(src + i + 3);

		_mm256_stream_si256(dst + i, a);
		_mm256_stream_si256(dst + i + 1, b);
		_mm256_stream_si256(dst + i + 2, c);
		_mm256_stream_si256(dst + i + 3, d);
	}
	_mm_sfence();
}

static const struct stores {
	const char *name;
	void (*copy_page)(void *to, const void *from);
} stores[] = {
	{ "rep_movsb", copy_rep_movsb },
	{ "movq", copy_movq },
	{ "movnti", copy_movnti },
	{ "vmovntdq", copy_vmovntdq },
};

#define NR_STORES	(sizeof(stores) / sizeof(*stores))

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* As the kernel has its memory mapped, and most guests theirs: by huge pages. */
static char *memory(int byte)
{
	char *mem = mmap(NULL, LARGEST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		err(EXIT_FAILURE, "cannot have %lu MiB", LARGEST >> 20);
	madvise(mem, LARGEST, MADV_HUGEPAGE);
	memset(mem, byte, LARGEST);
	return mem;
}

static void copy(const struct stores *by, char *to, const char *from, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += PAGE)
		by->copy_page(to + i, from + i);
}

static uint64_t read_all(const char *mem, size_t size)
{
	const volatile uint64_t *words = (const volatile uint64_t *)mem;
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < size / sizeof(*words); i++)
		sum += words[i];
	return sum;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median_us(uint64_t *samples)
{
	qsort(samples, ROUNDS, sizeof(*samples), by_value);
	return samples[ROUNDS / 2] / 1000.0;
}

/*
 * Before a copy of less than all, go over other memory, so that neither source
 * nor destination is in the caches by then, as in a VMM that has just read an
 * image and got fresh pages.
 */
static void measure(size_t size, char *to, const char *from)
{
	static uint64_t copied[NR_STORES][ROUNDS], read[NR_STORES][ROUNDS];
	unsigned int round, i, s;
	uint64_t start;

	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < NR_STORES; i++) {
			s = round % 2 ? NR_STORES - 1 - i : i;
			if (size < LARGEST)
				read_all(from + LARGEST / 2, LARGEST / 2);

			start = now();
			copy(&stores[s], to, from, size);
			copied[s][round] = now() - start;
			start = now();
			read_all(to, size);
			read[s][round] = now() - start;
		}
	}

	for (s = 0; s < NR_STORES; s++)
		printf("%s %zu %.1f %.1f\n", stores[s].name, size, median_us(copied[s]),
		       median_us(read[s]));
}

int main(void)
{
	char *from = memory(1), *to = memory(2);
	size_t size;

	for (size = 256ul << 10; size <= LARGEST; size *= size < 64 << 20 ? 16 : 8)
		measure(size, to, from);
	return 0;
}
