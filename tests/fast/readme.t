#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The C code in the README compiles without a warning and does what it says.
# needs: stock
# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"
cd "$(dirname "$(readlink -f "$0")")/../.." || exit

selftests=$(lab/selftests) || exit
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

{
	awk '/^```c$/ { c = 1; next } /^```$/ { c = 0 } c' README.md
	cat <<'C'
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int main(void)
{
	size_t size = 32 << 20;
	char *image = malloc(size), *memory;
	int vm_fd = ioctl(open("/dev/kvm", O_RDWR), KVM_CREATE_VM, 0), fd;

	for (size_t i = 0; i < size; i++)
		image[i] = i * 131 >> 7;
	fd = populated_guest_memfd(vm_fd, image, size);
	if (fd < 0)
		return -fd;
	memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED || memcmp(memory, image, size))
		return 1;
	return populated_guest_memfd(vm_fd, image, 5000) == -EINVAL ? 0 : 2;
}
C
} >"$work/example.c"

for cc in gcc clang-19; do
	check_silent "it compiles with $cc" "$cc" -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -static \
		-isystem "$selftests/headers/include" -o "$work/example" "$work/example.c"
done
check "it populates guest memory" lab/boot --add "$work/example" -- example
done_testing
