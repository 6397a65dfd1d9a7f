// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command line of fsx, and what it says.
 */
#include <getopt.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "fsx.h"

#define EXIT_FAILED	1
#define EXIT_UNUSABLE	2

static const char usage[] =
"Usage: fsx [OPTION]...\n"
"\n"
"Play random operations on a guest_memfd that write() can populate, and compare each\n"
"result, and what the file then holds, with a model. If they differ, shrink the\n"
"sequence to a short one, and print that.\n"
"\n"
"  --seed N          the same seed, the same operations (default: a random one)\n"
"  --ops N           how many (default: 100000, or no limit with --time)\n"
"  --time SECONDS    stop after that\n"
"  --replay FILE     play the sequence in FILE instead, - is stdin\n"
"  --save PREFIX     write the short sequence to PREFIX.ops instead\n"
"  --wrong-model HOW a test of the tester: have the model wrong (lost-page, errno,\n"
"                    position, hole), which must be found\n"
"  --help            show this\n"
"\n"
"Exit status: 0 all agrees, 1 something differs, 2 it could not be tested.\n";

static const char *save;

static const char * const outcomes[] = {
	[DIFFERS] = "differs", [CRASHES] = "kills the process", [HANGS] = "hangs",
};

static void __attribute__((noreturn)) bad_usage(const char *what)
{
	fprintf(stderr, "fsx: %s; see fsx --help\n", what);
	exit(EXIT_UNUSABLE);
}

static unsigned long number(const char *text)
{
	unsigned long value;
	char *end;

	value = strtoul(text, &end, 0);
	if (!*text || *text == '-' || *end)
		bad_usage("not a number where one is expected");
	return value;
}

/* What is wrong, in one line. */
static void print_difference(FILE *out, enum outcome outcome)
{
	const struct op *op = &attempt->ops[attempt->nr - 1];
	const char *want = attempt->want < 0 ? strerrorname_np(-attempt->want) : NULL;
	const char *got = attempt->got < 0 ? strerrorname_np(-attempt->got) : NULL;

	print_op(out, op, " ");
	if (outcome != DIFFERS) {
		fprintf(out, "%s\n", outcomes[outcome]);
		return;
	}
	fprintf(out, "differs: %s: is %ld%s%s, should be %ld%s%s\n", attempt->what,
		attempt->got, got ? " " : "", got ?: "", attempt->want, want ? " " : "",
		want ?: "");
}

static FILE *open_saved(void)
{
	char path[4096];
	FILE *out;

	snprintf(path, sizeof(path), "%s.ops", save);
	out = fopen(path, "w");
	if (!out)
		fprintf(stderr, "fsx: %s: %s\n", path, strerror(errno));
	return out ?: stdout;
}

static void print_attempt(enum outcome outcome, const char *origin)
{
	FILE *out = save ? open_saved() : stdout;

	fprintf(out, "# %s\n", origin);
	fputs("# ", out);
	print_difference(out, outcome);
	print_sequence(out, attempt->ops, attempt->nr);
	if (out != stdout)
		fclose(out);
}

/* In attempt is a sequence that fails. */
static void report_failure(enum outcome outcome, const char *origin)
{
	static struct attempt first;
	struct op *ops = first.ops;
	enum outcome again;
	int nr = attempt->nr;

	first = *attempt;
	again = play_ops(ops, nr);
	if (again == AGREES || again == UNUSABLE) {
		printf("it does not fail again when its stint of %d operations is played alone;\n"
		       "the whole run does so perhaps\n", nr);
		*attempt = first;
		print_attempt(outcome, origin);
		return;
	}

	fprintf(stderr, "fsx: shrinking a sequence of %d operations\n", nr);
	nr = shrink(ops, nr);
	outcome = play_ops(ops, nr);
	printf("shrunk to %d operations; ", nr);
	print_difference(stdout, outcome);
	print_attempt(outcome, origin);
}

static void print_counts(const struct options *options, double seconds)
{
	int kind;

	printf("by kind:");
	for (kind = 0; kind < nr_op_kinds; kind++)
		printf(" %s %lu", op_kinds[kind].name, attempt->counts[kind]);
	printf("\nseed %lu: %lu operations in %lu stints, %.0f s, %.0f a second\n", options->seed,
	       attempt->done, attempt->stint + 1, seconds, attempt->done / seconds);
}

static double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static int run_random(const struct options *options)
{
	const double start = seconds_now();
	enum outcome outcome;
	char origin[128];

	fprintf(stderr, "fsx: seed %lu\n", options->seed);
	outcome = play_random(options);
	if (outcome == UNUSABLE) {
		print_op(stderr, &attempt->ops[attempt->nr - 1], " cannot be played\n");
		return EXIT_UNUSABLE;
	}
	if (outcome == AGREES) {
		print_counts(options, seconds_now() - start);
		return 0;
	}

	snprintf(origin, sizeof(origin),
		 "fsx --seed %lu: operation %lu (stint %lu, %d of it)", options->seed,
		 attempt->done + 1, attempt->stint, attempt->nr);
	printf("%s: ", origin);
	print_difference(stdout, outcome);
	fflush(stdout);		/* shrinking takes its time */
	report_failure(outcome, origin);
	return EXIT_FAILED;
}

static int run_replay(const char *path)
{
	static struct op ops[MAX_STINT];
	const int nr = read_sequence(path, ops);
	enum outcome outcome;

	if (nr < 0)
		return EXIT_UNUSABLE;

	outcome = play_ops(ops, nr);
	if (outcome == UNUSABLE)
		return EXIT_UNUSABLE;
	if (outcome == AGREES) {
		printf("all agrees: %lu of %d operations apply\n", attempt->done, nr);
		return 0;
	}
	printf("operation %d: ", attempt->nr);
	print_difference(stdout, outcome);
	report_failure(outcome, "fsx --replay");
	return EXIT_FAILED;
}

static void set_wrong_model(const char *how)
{
	const char * const *known;

	for (known = wrong_models; *known; known++)
		if (!strcmp(how, *known))
			wrong_model = *known;
	if (!*wrong_model)
		bad_usage("there is no such wrong model");
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "ops", required_argument, NULL, 'o' },
		{ "time", required_argument, NULL, 't' },
		{ "replay", required_argument, NULL, 'r' },
		{ "save", required_argument, NULL, 'f' },
		{ "wrong-model", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	struct options options = {};
	const char *replay = NULL;
	int opt;

	MUST(getrandom(&options.seed, 4, 0));
	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (opt) {
		case 's':
			options.seed = number(optarg);
			break;
		case 'o':
			options.ops = number(optarg);
			break;
		case 't':
			options.seconds = number(optarg);
			break;
		case 'r':
			replay = optarg;
			break;
		case 'f':
			save = optarg;
			break;
		case 'w':
			set_wrong_model(optarg);
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs("see fsx --help\n", stderr);
			return EXIT_UNUSABLE;
		}
	}
	if (optind < argc)
		bad_usage("there are no arguments but options");
	if (!options.ops)
		options.ops = options.seconds ? -1ul : 100000;

	init_attempts();
	return replay ? run_replay(replay) : run_random(&options);
}
