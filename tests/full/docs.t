#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The programs of docs/vmm.md compile, and populate guest memory on the patched kernel
# and, in C, on the one without the change.
# needs: stock

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
program() { awk -v begin="\`\`\`$1" '$0 == begin { c = 1; next } /^```$/ { c = 0 } c' docs/vmm.md; }
program c >"$work/vmm.c"
program rust >"$work/prefetch.rs"
check_silent "the C program compiles" gcc -std=gnu11 -O2 -Wall -Wextra -Werror -o "$work/vmm" "$work/vmm.c"
check_silent "the Rust program compiles" rustc -D warnings -o "$work/prefetch" "$work/prefetch.rs"

# Of each operation on a memfd, no system call that the table of docs/vmm.md does not have.
documented() {	# ROW...
	local row
	for row in any "examining the guest_memfd" "$@"; do
		grep "^| $row " docs/vmm.md | cut -d '|' -f 3 | tr -d ' ' | tr , '\n'
	done
	# Memory and threads.
	printf '%s\n' brk mmap munmap mprotect madvise clone clone3 rt_sigaction set_robust_list rseq futex exit getrandom prctl
}
made() {	# OPERATION
	strace -f -qq -o "$work/trace" build/user/lib/tests/syscalls "$1" &&
		sed -n '/"begin"/,/"end"/p' "$work/trace" | sed -nE 's/^[0-9]+ +(<\.\.\. )?([a-z0-9_]+).*/\2/p' |
		sed 's/^syscall_0x1c3$/cachestat/' | sort -u	# strace 6.1 does not know that
}
lib/build user >/dev/null
while IFS=: read -r operation rows; do
	IFS=, read -ra rows <<<"${rows//=/:}"
	made "$operation" >"$work/made" || not_ok "$operation works" "$(tail -n 3 "$work/trace")"
	grep -vxFf <(documented "${rows[@]}") "$work/made" >"$work/more" || true
	check_silent "the system calls of $operation" cat "$work/more"
done <<-'END'
	probe:gmem_probe()
	write:populating= write,from a file
	mmap:populating= mmap,from a file
	sendfile:populating= sendfile,from a file
	io_uring:populating= io_uring,populating= write,from a file
	stream:populating= write,from a stream
	verify:populating= write,from a file,verifying
	demand:populating= write,from a file
	layers:populating= write,from layers
	hidden:populating= mmap,from a file,verifying,NO_DIRECT_MAP= mmap or verifying
	create:gmem_create()
	next_populated:gmem_create(),gmem_next_populated()
	cancel:gmem_cancel()
	order:an order file
END

lab/root "$work/root" "$work/vmm" "$work/prefetch"
head -c 3M /dev/urandom >"$work/image"
says "they populate guest memory, and prefetch what is absent" 0 $'write\\(\\): 0.*3141632 of 3145728 bytes' \
	lab/boot --add "$work/root:/" --add "$work/image" -- sh -c 'cd /usr/local/bin; ./vmm /bin/image && ./prefetch /bin/image'
says "without the change the C program maps and copies" 0 'mmap: 0' \
	lab/boot --unpatched --add "$work/root:/" --add "$work/image" -- /usr/local/bin/vmm /bin/image
done_testing
