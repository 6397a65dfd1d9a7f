// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* A bar on the terminal for what takes long. */
#include <unistd.h>

#include "cli.h"

#define WIDTH		30
#define SILENT_MS	1000.0

static bool shown;

int show_progress(const struct gmem_progress *p, void *arg)
{
	static const char full[] = "##############################";
	char done[32], total[32];
	int filled;

	if (output.quiet || p->ms < SILENT_MS || !isatty(STDERR_FILENO))
		return 0;

	shown = true;
	format_size(done, p->done);
	if (!p->total) {
		fprintf(stderr, "\r\033[K%s %s", (const char *)arg, done);
		return 0;
	}
	filled = p->done < p->total ? (double)p->done / p->total * WIDTH : WIDTH;
	fprintf(stderr, "\r\033[K%s [%.*s%*s] %s of %s, %.0f s left", (const char *)arg,
		filled, full, WIDTH - filled, "", done, format_size(total, p->total),
		p->done && p->done < p->total ? p->ms / 1000 * (p->total - p->done) / p->done : 0.0);
	return 0;
}

void end_progress(void)
{
	if (shown)
		fputs("\r\033[K", stderr);
	shown = false;
}
