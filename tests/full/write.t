#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# What write() promises, at length: tests/stress/write-*.c, on the kernel that users run.
# needs: stock minutes=5

# shellcheck source=lab/lib.sh
. "$(dirname "$(readlink -f "$0")")/../../lab/lib.sh"
# shellcheck source=tests/tap.sh
. "$root/tests/tap.sh"
# shellcheck source=tests/stress.sh
. "$root/tests/stress.sh"
cd "$root"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
programs=(write-abi write-source write-pipe write-error write-wait write-place write-large)
tests/stress/compile "$work" "${programs[@]}" || exit

# Two nodes that are small enough to be filled. A boot each: pages with a memory error
# are not given back.
for program in "${programs[@]}"; do
	relay "$program" lab/boot --timeout 600 --numa 2 --mem 2G --add "$work/$program" -- "/bin/$program"
done
done_testing
