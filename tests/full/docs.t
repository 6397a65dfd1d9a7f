#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The programs of docs/vmm.md compile, and populate guest memory on the patched kernel
# and, in C, on the one without the change.
# needs: stock

# shellcheck source=lab/lib.sh
. "$(dirname "$(readlink -f "$0")")/../../lab/lib.sh"
# shellcheck source=tests/tap.sh
. "$root/tests/tap.sh"
cd "$root"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
program() { awk -v begin="\`\`\`$1" '$0 == begin { c = 1; next } /^```$/ { c = 0 } c' docs/vmm.md; }
program c >"$work/vmm.c"
program rust >"$work/prefetch.rs"
check_silent "the C program compiles" gcc -std=gnu11 -O2 -Wall -Wextra -Werror -o "$work/vmm" "$work/vmm.c"
check_silent "the Rust program compiles" rustc -D warnings -o "$work/prefetch" "$work/prefetch.rs"

lab/root "$work/root" "$work/vmm" "$work/prefetch"
head -c 3M /dev/urandom >"$work/image"
says "they populate guest memory, and prefetch what is absent" 0 $'write\\(\\): 0.*3141632 of 3145728 bytes' \
	lab/boot --add "$work/root:/" --add "$work/image" -- sh -c 'cd /usr/local/bin; ./vmm /bin/image && ./prefetch /bin/image'
says "without the change the C program maps and copies" 0 'mmap: 0' \
	lab/boot --unpatched --add "$work/root:/" --add "$work/image" -- /usr/local/bin/vmm /bin/image
done_testing
