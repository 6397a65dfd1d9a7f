#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# libgmem's unit tests under valgrind and the thread sanitizer, on the patched kernel,
# which has all that there is to test, and on the one without the change.
# needs: stock minutes=4

# shellcheck source=tests/units.sh
. "$(dirname "$(readlink -f "$0")")/../units.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check "it builds, with the thread sanitizer, too" lib/build user tsan
units valgrind user valgrind -q --error-exitcode=99 --leak-check=full --suppressions=lib/tests/valgrind.supp
export TSAN_OPTIONS=suppressions=$root/lib/tests/tsan.supp
units TSan tsan

# in_lab NAME ALL OPTION... -- TEST...: on another kernel, one boot for all of them.
in_lab() {
	local name=$1 all=$2 options=() test
	shift 2
	while [[ $1 != -- ]]; do options+=("$1"); shift; done
	shift
	rm -rf "$work/share"
	mkdir "$work/share"
	# shellcheck disable=SC2016 # for the lab's shell
	lab/boot --quiet "${options[@]}" --timeout 1500 --add "$work/root:/" --share "$work/share" -- \
		sh -c 'echo 16 >/proc/sys/vm/nr_hugepages; for t; do "/usr/local/bin/test-$t" >"/share/$t.tap" 2>&1; echo $? >"/share/$t.status"; done' - "$@" >"$work/said" 2>&1 ||
		not_ok "$name: boots, and has no complaints" "$(<"$work/said")"
	for test; do
		touch "$work/share/$test.tap"
		report "$name: $test" "$(cat "$work/share/$test.status" || echo none)" "$work/share/$test.tap" "$all"
	done
}

mapfile -t tests < <(find build/user/lib/tests -maxdepth 1 -type f -perm -u+x -name 'test-*' -printf '%f\n' | sed 's/^test-//' | sort)
lab/root "$work/root" "${tests[@]/#/build/user/lib/tests/test-}"
# What the kernel does not know of its parameters becomes the environment.
in_lab "patched kernel" --all --append CMOCKA_MESSAGE_OUTPUT=TAP -- "${tests[@]}"
in_lab "unpatched kernel" '' --append CMOCKA_MESSAGE_OUTPUT=TAP --unpatched -- context populate

done_testing
