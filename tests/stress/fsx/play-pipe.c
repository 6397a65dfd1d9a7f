// SPDX-License-Identifier: GPL-2.0-only
/*
 * splice(), vmsplice() and sendfile().
 */
#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "play.h"

/* One stays as it is between operations, the other is empty then. */
static int lasting[2], passing[2];
static unsigned char drained[2 * SOURCE_SIZE];

/* In packet mode each write has a buffer of its own, however short. */
static void make_pipe(int pipefd[2])
{
	if (pipefd[1])
		return;

	MUST(pipe2(pipefd, O_DIRECT | O_NONBLOCK));
	MUST(fcntl(pipefd[1], F_SETPIPE_SZ, SOURCE_SIZE));
}

static long drain(int pipefd[2])
{
	long ret, done = 0;

	make_pipe(pipefd);
	/* With room for all: what of a packet isn't read at once is lost. */
	while ((ret = RET(read(pipefd[0], drained + done, sizeof(drained) - done))) > 0)
		done += ret;

	return ret == -EAGAIN ? done : ret;
}

long play_fill(long at, long len, long chunk)
{
	long done, nr;

	make_pipe(lasting);
	for (done = 0; done < len; done += nr) {
		nr = len - done < chunk ? len - done : chunk;
		MUST(write(lasting[1], world.source + at + done, nr));
	}
	return done;
}

static long vmsplice_bytes(int pipefd[2], void *mem, long len)
{
	struct iovec iov = { .iov_base = mem, .iov_len = len };

	make_pipe(pipefd);
	return RET(vmsplice(pipefd[1], &iov, 1, 0));
}

long play_vmsplice(long at, long len)
{
	return vmsplice_bytes(lasting, world.source + at, len);
}

static long splice_bytes(int pipefd[2], long fd, long off, long len)
{
	loff_t pos = off;
	long ret;

	make_pipe(pipefd);
	ret = RET(splice(pipefd[0], NULL, world.fds[fd], off < 0 ? NULL : &pos, len,
			 SPLICE_F_NONBLOCK));
	/* The offset has to agree with the result. */
	return pos - off == (ret > 0 && off >= 0 ? ret : 0) ? ret : -EPROTO;
}

long play_splice(long fd, long off, long len)
{
	return splice_bytes(lasting, fd, off, len);
}

long play_drain(void)
{
	return drain(lasting);
}

const unsigned char *play_drained_bytes(void)
{
	return drained;
}

/*
 * By a pipe that refers to pages of the file itself, which are perhaps punched
 * out of it in between.
 */
long play_vmsplice_map(long fd, long from, long len, long off, long punch)
{
	long ret = vmsplice_bytes(passing, world.mem + from, len);

	if (ret == len) {
		if (punch)
			MUST(fallocate(world.fds[fd], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				       from / PAGE * PAGE,
				       (from + len - 1) / PAGE * PAGE + PAGE - from / PAGE * PAGE));
		ret = splice_bytes(passing, fd, off, len);
	}
	drain(passing);
	return ret;
}

long play_sendfile(long fd, long from, long len)
{
	off_t in = from;
	long ret = RET(sendfile(world.fds[fd], world.in, &in, len));

	return in - from == (ret > 0 ? ret : 0) ? ret : -EPROTO;
}
