// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * What gmem snapshot is answered, by whatever listens at the socket that it was
 * given: it ends with a number, or with a message that fits. The first byte of each
 * message tells its length.
 */
#include <sys/socket.h>

#include "fuzz.h"
#include "../cli/cmd-snapshot.c"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char error[CONTROL_MESSAGE_SIZE] = "";
	int before = next_descriptor(), ends[2], n;
	int64_t done;

	MUST(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	while (size) {
		size_t len = *bytes++;

		size--;
		len = len < size ? len : size;
		if (!len || send(ends[1], bytes, len, MSG_DONTWAIT) < 0)
			break;
		bytes += len;
		size -= len;
	}
	close(ends[1]);
	done = wait_for_result(ends[0], error);
	n = strnlen(error, sizeof(error));
	MUST(n < CONTROL_MESSAGE_SIZE);
	MUST((done < 0) == (n > 0));
	close(ends[0]);
	MUST(next_descriptor() == before);
	return 0;
}
