#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The C code in the README compiles without a warning and does what it says; every file
# that it names is there.
# needs: stock
# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"

build=$(lib/build static) || exit
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

{
	cat <<'C'
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <gmem.h>

int main(int argc, char **argv)
{
	int vm = ioctl(open("/dev/kvm", O_RDWR), KVM_CREATE_VM, 0L);
	int image = open(argv[argc - 1], O_RDONLY), memory, err;
	size_t size = lseek(image, 0, SEEK_END);
	const char *wanted = mmap(NULL, size, PROT_READ, MAP_SHARED, image, 0), *there;
	struct gmem_context *g;

	if (gmem_context_new(&g))
		return 1;
C
	awk '/^```c$/ { c = 1; next } /^```$/ { c = 0 } c' README.md
	cat <<'C'
	there = mmap(NULL, size, PROT_READ, MAP_SHARED, memory, 0);
	return err || gmem_stats(g)->method != GMEM_METHOD_WRITE || memcmp(there, wanted, size);
}
C
} >"$work/example.c"

check_silent "its C code compiles" gcc -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -static -pthread \
	-I lib -o "$work/example" "$work/example.c" "$build/lib/libgmem.a" -lzstd -luring
head -c 32M /dev/urandom >"$work/image"
check "it populates guest memory by write()" lab/boot --quiet --add "$work/example" --add "$work/image" -- example /bin/image
check "what it links to is there" sh -c "grep -oE '\]\((\.|[a-z])[^):]*\)' README.md docs/*.md CONTRIBUTING.md | sed 's/.*(//; s/[)#].*//' | while read -r f; do test -e \$f || test -e docs/\$f || { echo \$f; exit 1; }; done"
if (($(wc -l <README.md) <= 120)); then ok "it has 120 lines at most"; else not_ok "it has 120 lines at most"; fi
done_testing
