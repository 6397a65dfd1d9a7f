// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* gmem load: populate guest memory from an image, and report. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

static struct {
	uint64_t size, offset, chunk;
	unsigned int threads, fd;
	enum gmem_method method;
	enum gmem_zero zero;
	enum format format;
	const char *order;
	const char *layer[GMEM_MAX_LAYERS];
	int nr_layers;
	bool keep, secret, pad, direct, verify, has_fd;
} opt;

static void set_method(const struct option_spec *o, const char *value)
{
	opt.method = option_method(o, value);
}

static void set_zero(const struct option_spec *o, const char *value)
{
	opt.zero = option_choice(o, value);
}

static void set_format(const struct option_spec *o, const char *value)
{
	opt.format = option_choice(o, value);
}

static void add_layer(const struct option_spec *o, const char *value)
{
	/* The image is the first of all. */
	if (opt.nr_layers == GMEM_MAX_LAYERS - 1)
		die_option(o, value, "too many layers");
	opt.layer[opt.nr_layers++] = value;
}

static void set_fd(const struct option_spec *o, const char *value)
{
	uint64_t fd;

	if (!parse_number(value, &fd) || fd > INT32_MAX || fcntl(fd, F_GETFD) < 0)
		die_option(o, value, "not an open file descriptor");
	opt.fd = fd;
	opt.has_fd = true;
}

static const struct option_spec options[] = {
	{ OPTION_SIZE, 's', "size", "SIZE", "how much guest memory (what the image needs)", &opt.size, NULL, NULL },
	{ OPTION_SIZE, 0, "offset", "SIZE", "where in guest memory to begin (0)", &opt.offset, NULL, NULL },
	{ OPTION_CALL, 0, "fd", "N", "populate this guest_memfd, an open descriptor", NULL, set_fd, NULL },
	{ OPTION_CALL, 'l', "layer", "FILE", "upon IMAGE: its pages that are no holes; again for more", NULL, add_layer, "FILE" },
	{ OPTION_CALL, 0, "format", "FORMAT", "auto, raw or zstd (auto: by how it begins)", NULL, set_format, "auto raw zstd" },
	{ OPTION_CALL, 0, "method", "METHOD", "auto, write, mmap, sendfile or io_uring (auto)", NULL, set_method, "auto write mmap sendfile io_uring" },
	{ OPTION_CALL, 'z', "zero", "HOW", "skip zeros: auto, fresh: all of them; or write", NULL, set_zero, "auto fresh write" },
	{ OPTION_NUMBER, 't', "threads", "N", "threads that populate (as many as pay)", &opt.threads, NULL, NULL },
	{ OPTION_SIZE, 0, "chunk", "SIZE", "what a thread does at a time (1M)", &opt.chunk, NULL, NULL },
	{ OPTION_STRING, 0, "order", "FILE", "populate the ranges first that this order file has", &opt.order, NULL, NULL },
	{ OPTION_FLAG, 0, "no-overwrite", NULL, "leave pages alone that are populated already", &opt.keep, NULL, NULL },
	{ OPTION_FLAG, 0, "secret", NULL, "guest memory that the kernel cannot see", &opt.secret, NULL, NULL },
	{ OPTION_FLAG, 0, "direct", NULL, "read past the page cache, where that works", &opt.direct, NULL, NULL },
	{ OPTION_FLAG, 0, "pad", NULL, "fill up the last page with zeros", &opt.pad, NULL, NULL },
	{ OPTION_FLAG, 0, "verify", NULL, "compare every byte afterwards", &opt.verify, NULL, NULL },
	OPTIONS_COMMON
};

static const struct command_spec spec = {
	.synopsis = "[OPTION]... IMAGE",
	.about = "Populate guest memory from IMAGE, - for stdin, and report how that went. The\n"
		 "memory is a guest_memfd of a VM of our own, gone afterwards, or that of --fd.",
	.options = options,
	.operands = 1,
};

static struct gmem_context *context;

static void on_signal(int sig)
{
	(void)sig;
	gmem_cancel(context);
}

/* Who ignores them, for a job in the background, goes on ignoring them. */
static void cancel_on_signals(void)
{
	const struct sigaction cancel = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND };
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction before;
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	for (i = 0; i < ARRAY_SIZE(signals); i++) {
		sigaction(signals[i], NULL, &before);
		if (before.sa_handler != SIG_IGN)
			sigaction(signals[i], &cancel, NULL);
		sigaddset(&set, signals[i]);
	}
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static int open_image(const char *path)
{
	int fd;

	if (!strcmp(path, "-"))
		return STDIN_FILENO;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

/* Can it be read in any order, from its beginning? */
static bool is_file(int image)
{
	struct stat st;

	return !fstat(image, &st) && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) &&
	       image != STDIN_FILENO;
}

/* The image, and what lies upon it. */
static int layers[GMEM_MAX_LAYERS];

static int open_layer(const char *path)
{
	int fd = open_image(path);

	if (!is_file(fd))
		die("--layer %s: neither a file nor a block device", path);
	if (opt.format == FORMAT_AUTO && find_format(fd, path) != FORMAT_RAW)
		die("--layer %s is compressed: unpack it, so that its holes can be told", path);
	return fd;
}

/* What the image needs, in whole pages. */
static uint64_t image_size(struct gmem_context *g, const char *path, int image, enum format format)
{
	uint64_t page = sysconf(_SC_PAGESIZE), size;
	struct stat st;
	off_t end;

	if (!is_file(image))
		die_usage("--size is needed: how large %s is cannot be known in advance", path);
	if (format == FORMAT_ZSTD) {
		if (gmem_zstd_size(g, image, &size))
			die_usage("--size is needed: %s: %s", path, gmem_error(g));
	} else {
		fstat(image, &st);
		end = S_ISREG(st.st_mode) ? st.st_size : lseek(image, 0, SEEK_END);
		if (end < 0)
			die("%s: %s", path, strerror(errno));
		size = end;
	}
	/* Both may be any number: the one is the user's, the other a frame's. */
	if (size > INT64_MAX || opt.offset > INT64_MAX)
		die("%s: %" PRIu64 " bytes at %#" PRIx64 " are more than any guest memory", path, size, opt.offset);
	size = opt.offset + (size + page - 1) / page * page;
	return size ?: page;
}

/* As much as the largest layer needs. */
static uint64_t needed_size(struct gmem_context *g, const char *path, enum format format)
{
	uint64_t most = image_size(g, path, layers[0], format), size;
	int i;

	for (i = 0; i < opt.nr_layers; i++) {
		size = image_size(g, opt.layer[i], layers[i + 1], FORMAT_RAW);
		most = size > most ? size : most;
	}
	return most;
}

static void set_options(struct gmem_context *g)
{
	char value[32];

	gmem_set_method(g, opt.method);
	gmem_set_zero(g, opt.zero);
	gmem_set_overwrite(g, !opt.keep);
	gmem_set_pad(g, opt.pad);
	gmem_set_direct(g, opt.direct);
	gmem_set_verify(g, opt.verify);
	gmem_set_progress(g, show_progress, (void *)"populating");
	if (gmem_set_threads(g, opt.threads))
		die_usage("--threads %u: %s", opt.threads, gmem_error(g));
	if (opt.chunk && gmem_set_chunk(g, opt.chunk))
		die_usage("--chunk %s: %s", format_size(value, opt.chunk), gmem_error(g));
	set_order(g, opt.order);
}

static int populate(struct gmem_context *g, int memory, int image, enum format format)
{
	if (opt.nr_layers)
		return gmem_populate_layers(g, memory, opt.offset, layers, opt.nr_layers + 1);
	if (format == FORMAT_ZSTD)
		return gmem_populate_zstd(g, memory, opt.offset, image, GMEM_ALL);
	if (is_file(image))
		return gmem_populate_file(g, memory, opt.offset, image, 0, GMEM_ALL);
	return gmem_populate_stream(g, memory, opt.offset, image, GMEM_ALL);
}

static double rate(const struct gmem_stats *s)
{
	return s->ms > 0 ? s->bytes / 1048576.0 / (s->ms / 1000) : 0;
}

static void print_json(const char *path, enum format format, const struct gmem_stats *s, const char *error)
{
	unsigned int i;

	json_result(error);
	json_string("image", path);
	json_string("format", format == FORMAT_ZSTD ? "zstd" : "raw");
	json_uint("bytes", s->bytes);
	json_uint("up_to", s->up_to);
	json_uint("pages_written", s->pages_written);
	json_uint("pages_skipped", s->pages_skipped);
	json_uint("pages_present", s->pages_present);
	json_double("ms", s->ms);
	json_double("mib_per_s", rate(s));
	json_string("method", gmem_method_name(s->method));
	json_string("why", s->why);
	json_bool("direct", s->direct);
	json_bool("verified", opt.verify && !error);
	json_array("threads");
	for (i = 0; i < s->threads; i++) {
		json_object(NULL);
		json_uint("bytes", s->thread[i].bytes);
		json_double("ms", s->thread[i].ms);
		json_end();
	}
	json_end();
	json_end();
}

static void print_report(const char *path, const struct gmem_stats *s)
{
	unsigned int i;
	char size[32];

	put_printable(stdout, path);
	printf(": %s populated in %.1f ms, %.0f MiB/s\n", format_size(size, s->bytes), s->ms, rate(s));
	printf("  method   %s: %s\n", gmem_method_name(s->method), s->why);
	if (opt.direct)
		printf("  source   %s\n", s->direct ? "read past the page cache" : "read through the page cache: it has no O_DIRECT");
	printf("  pages    %" PRIu64 " written, %" PRIu64 " skipped (zeros)", s->pages_written, s->pages_skipped);
	if (opt.keep)
		printf(", %" PRIu64 " left alone", s->pages_present);
	putchar('\n');
	printf("  threads  %u:", s->threads);
	for (i = 0; i < s->threads; i++)
		printf("%s %s in %.1f ms", i ? "," : "", format_size(size, s->thread[i].bytes), s->thread[i].ms);
	putchar('\n');
	if (opt.verify)
		printf("  verified every byte\n");
	if (!opt.has_fd)
		printf("  discarded: that was memory of a VM of its own; --fd populates yours\n");
}

int cmd_load(int argc, char **argv)
{
	int operand = parse_options(argc, argv, &spec), image, memory, err, i;
	const char *path = argv[operand];
	enum format format;
	struct gmem_context *g;

	if (!path)
		die_usage("which IMAGE? - is stdin");
	if (opt.nr_layers && opt.format == FORMAT_ZSTD)
		die_usage("--layer: layers are raw images");
	if (opt.has_fd && opt.size)
		die_usage("--size: the guest memory of --fd has its size");
	if (opt.has_fd && opt.secret)
		die_usage("--secret: the guest memory of --fd is there already");

	if (gmem_context_new(&g))
		die("out of memory");
	set_options(g);
	image = open_image(path);
	format = opt.format ?: find_format(image, path);
	if (opt.nr_layers && (format != FORMAT_RAW || !is_file(image)))
		die("%s: what layers are put upon is a raw image, a file", path);
	layers[0] = image;
	for (i = 0; i < opt.nr_layers; i++)
		layers[i + 1] = open_layer(opt.layer[i]);
	if (opt.has_fd)
		memory = opt.fd;
	else
		memory = make_guest_memory(g, opt.size ?: needed_size(g, path, format),
					   opt.secret ? GMEM_FLAG_NO_DIRECT_MAP : 0);

	context = g;
	cancel_on_signals();
	err = populate(g, memory, image, format);
	end_progress();

	if (err)
		warn("%s: %s (all below %#" PRIx64 " of guest memory is done)",
		     path, gmem_error(g), gmem_stats(g)->up_to);
	if (output.json)
		print_json(path, format, gmem_stats(g), err ? gmem_error(g) : NULL);
	else if (!err && !output.quiet)
		print_report(path, gmem_stats(g));

	gmem_context_free(g);
	return err ? EXIT_FAILED : EXIT_OK;
}
