// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everybody at once: writers of every kind, threads that have the file mapped,
 * vCPUs, holes being punched, memslots that come and go, on the same few pages.
 *
 * Each round is a process with a VM and a file.  It goes from one phase of
 * chaos to the next; between two of them all stand still and every page is
 * looked at.  In other phases each page is written once, and must be complete
 * from the moment that it is there.  In the end the process leaves in an orderly
 * manner, or is killed, and the file must be whole, usable, and paid back.
 */
#include "race.h"

#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest.h"

/* What the kernel may keep for itself for a while. */
#define SLACK	PG(16)

struct report *report;

void broken(enum rule rule, const char *fmt, ...)
{
	va_list args;

	if (__atomic_fetch_add(&report->broken[rule], 1, __ATOMIC_RELAXED))
		return;

	va_start(args, fmt);
	vsnprintf(report->what[rule], sizeof(report->what[rule]), fmt, args);
	va_end(args);
}

void broken_page(enum rule rule, const char *where, u64 index, struct page_view view)
{
	char text[DESCRIPTION_LEN];

	describe_page(text, index, view);
	broken(rule, "through %s %s", where, text);
}

/* The file of a process that is no more. */
static void examine_afterwards(int fd, enum ending ending, bool once)
{
	u8 *buf = map_anon(PG(NR_PAGES));
	struct page_view view;
	u64 *mem, index;
	long ret;

	mem = map_file(fd, PG(NR_PAGES));
	for (index = 0; index < NR_PAGES; index++) {
		view = examine_page(mem + index * PAGE_WORDS, index);
		if (!page_is_sound(view))
			broken_page(AFTERWARDS, "a mapping, after the end,", index, view);
		count(PAGES_EXAMINED, 1);
	}

	/* What is there cannot be overwritten. */
	if (once && punch(fd, 0, PG(NR_PAGES)))
		broken(AFTERWARDS, "cannot punch all of the file");
	fill_pages(buf, NR_PAGES, 0, 0xff, ending);
	ret = RET(pwrite(fd, buf, PG(NR_PAGES), 0));
	if (ret != PG(NR_PAGES))
		broken(AFTERWARDS, "writing all of the file returned %ld, after ending %d",
		       ret, ending);
	for (index = 0; index < NR_PAGES; index++) {
		view = examine_page(mem + index * PAGE_WORDS, index);
		if (view.tag != write_tag(index, 0xff, ending) || !page_is_sound(view))
			broken_page(AFTERWARDS, "a mapping, written again,", index, view);
	}

	/* No page can be removed that somebody left locked. */
	ret = punch(fd, 0, PG(NR_PAGES));
	if (ret)
		broken(AFTERWARDS, "punching all of the file returned %ld", ret);
	if (lseek(fd, 0, SEEK_DATA) >= 0)
		broken(AFTERWARDS, "there is data after punching all of the file");

	kvm_munmap(mem, PG(NR_PAGES));
	kvm_munmap(buf, PG(NR_PAGES));
}

static void round_run(struct memcg *all, u32 seed)
{
	const enum ending ending = seed % NR_ENDINGS;
	/* Sometimes the last to have the file is the one that dies. */
	const bool keep = seed / NR_ENDINGS % 3;
	struct memcg cg;
	int sock[2], fd, status;
	long left;
	pid_t pid;

	TEST_ASSERT(!memcg_create(&cg, all, "round"), "Cannot create a memory cgroup");
	TEST_ASSERT(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock),
		    "socketpair() failed, errno = %d", errno);

	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed, errno = %d", errno);
	if (!pid) {
		close(sock[0]);
		TEST_ASSERT(!memcg_enter(&cg), "Cannot enter the memory cgroup");
		arena_run(ending, seed, sock[1]);
	}
	close(sock[1]);

	watchdog_pat("the race");
	fd = recv_fd(sock[0]);
	if (fd < 0)
		broken(CALLS, "a round didn't start");
	if (fd >= 0 && !keep)
		close(fd);
	if (ending == END_KILLED) {
		usleep((NR_PHASES * PHASE_MS * 3 + seed * 7919 % (PHASE_MS * 2)) * 1000);
		kill(pid, SIGKILL);
		count(KILLS, 1);
	}
	TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	if (ending == END_KILLED ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL : status)
		broken(CALLS, "a round ended with status 0x%x", status);

	watchdog_pat("the look at the file afterwards");
	if (fd >= 0 && keep) {
		examine_afterwards(fd, ending, round_is_once(seed));
		close(fd);
	}

	watchdog_pat("giving the memory back");
	left = memcg_settle(&cg, SLACK);
	if (left)
		broken(GIVEN_BACK, "%ld bytes charged to a memory cgroup that nobody is in", left);
	memcg_destroy(&cg);
	close(sock[0]);
	count(ROUNDS, 1);
}

static const char * const rules[NR_RULES] = {
	[AT_REST] = "at rest each page is one writer's, or zero",
	[WORDS] = "at any time each word is what somebody wrote there, or zero",
	[FRESH] = "a page is complete from when it appears, to mappings and vCPUs",
	[ONCE] = "what was written, and not touched since, is there",
	[KEPT] = "where nothing is overwritten, a page is populated once, and no store since is lost",
	[CALLS] = "system calls return what they must",
	[AFTERWARDS] = "after the end of its users, kill included, the file is whole and usable",
	[GIVEN_BACK] = "memory is given back to the last page",
};

static const char * const events[NR_EVENTS] = {
	[ROUNDS] = "rounds", [KILLS] = "ended by SIGKILL", [PHASES] = "phases", [DUELS] = "of them duels of all writers",
	[WRITES] = "pwrite() and pwritev()", [URING_WRITES] = "writes by io_uring",
	[SPLICES] = "splice()", [PAGES_WRITTEN] = "pages written", [PUNCHES] = "holes punched",
	[ALLOCATIONS] = "fallocate()", [LOOKS] = "pages read by mapping",
	[FRESH_LOOKS] = "fresh pages read by mapping", [STORES] = "stores by mapping",
	[REMAPS] = "mappings zapped", [GUEST_LOOKS] = "pages read by vCPUs",
	[GUEST_FRESH_LOOKS] = "fresh pages read by vCPUs", [GUEST_STORES] = "stores by vCPUs",
	[SLOT_CHANGES] = "memslots bound and unbound",
	[GUEST_DISTURBED] = "vCPUs that lost a memslot",
	[PREFETCHED] = "pages prefetched",
	[REFUSED] = "writes that met what was populated",
	[STORES_KEPT] = "pages with a mapping's store, after a prefetch",
	[GUEST_STORES_KEPT] = "pages with a vCPU's store, after a prefetch",
	[PAGES_EXAMINED] = "pages examined at rest",
};

static __noreturn void usage(const char *name, int status)
{
	fprintf(status ? stderr : stdout,
		"Usage: %s [--seconds N] [--seed N] [--secret]\n"
		"\n"
		"Race for the pages of a guest_memfd, and check each of them. Speaks TAP.\n"
		"\n"
		"  --seconds N   how long to go on (30)\n"
		"  --seed N      of the first round, the next have the next (1)\n"
		"  --secret      files that keep what they have are not in the direct map\n", name);
	exit(status);
}

static u32 number(const char *name, const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (!*text || *end || n < 1 || n > 1000000) {
		fprintf(stderr, "%s: \"%s\" is not a number from 1 to 1000000\n", name, text);
		exit(2);
	}
	return n;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'r' },
		{ "secret", no_argument, NULL, 'S' },
		{ "help", no_argument, NULL, 'h' },
		{},
	};
	u32 seconds = 30, seed = 1;
	struct memcg all;
	unsigned int i;
	long owned, left;
	u64 end;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (opt) {
		case 's':
			seconds = number(argv[0], optarg);
			break;
		case 'r':
			seed = number(argv[0], optarg);
			break;
		case 'S':
			arena.secret = true;
			break;
		case 'h':
			usage(argv[0], 0);
		default:
			usage(argv[0], 2);
		}
	}
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & GUEST_MEMFD_FLAG_WRITE);

	ksft_print_header();
	ksft_set_plan(NR_RULES + 1);
	report = kvm_mmap(sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	memset(report, 0, sizeof(*report));	/* so that it isn't charged to a round */
	TEST_ASSERT(!memcg_create(&all, NULL, "race"), "Cannot create a memory cgroup");
	watchdog_start(180);

	ksft_print_msg("seed %u, %u s, %u pages, %u threads\n", seed, seconds, NR_PAGES, nr_actors);
	end = now_ms() + seconds * 1000ull;
	for (i = 0; now_ms() < end || i < NR_ENDINGS; i++)
		round_run(&all, seed + i);

	left = memcg_settle(&all, 0);
	if (left)
		broken(GIVEN_BACK, "%ld bytes are charged to the memory cgroup in the end", left);
	memcg_destroy(&all);
	owned = gmem_pages_left(0);
	if (owned > 0)
		broken(GIVEN_BACK, "%ld pages of guest_memfd are left, says page_owner", owned);
	watchdog_stop();

	for (i = 0; i < NR_RULES; i++) {
		if (report->broken[i])
			ksft_print_msg("%lu times, the first: %s\n", report->broken[i],
				       report->what[i]);
		ksft_test_result(!report->broken[i], "%s\n", rules[i]);
	}

	/* Where nothing happens nothing can go wrong. */
	opt = -1;
	for (i = 0; i < NR_EVENTS; i++) {
		ksft_print_msg("%9lu %s\n", report->events[i], events[i]);
		if (!report->events[i])
			opt = i;
	}
	ksft_print_msg("%9lu vCPUs that QEMU had go astray\n", report->vcpus_astray);
	ksft_print_msg("page_owner: %s\n", owned < 0 ? "not there" : "has been asked");
	ksft_test_result(opt < 0, "everything happened%s%s\n", opt < 0 ? "" : ", except: ",
			 opt < 0 ? "" : events[opt]);
	ksft_finished();
}
