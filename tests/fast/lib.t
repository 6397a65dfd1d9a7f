#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# libgmem's unit tests: here, where KVM may have guest_memfd; under valgrind and
# the sanitizers; and on the patched kernel, which has write().
# needs: stock

# shellcheck source=lab/lib.sh
. "$(dirname "$(readlink -f "$0")")/../../lab/lib.sh"
# shellcheck source=tests/tap.sh
. "$root/tests/tap.sh"
cd "$root"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CMOCKA_MESSAGE_OUTPUT=TAP

# report NAME STATUS FILE: what cmocka wrote becomes part of this test's.
report() {
	local line name=$1 status=$2 file=$3 failed='' why
	why=$(grep -m 1 -E 'no /dev/kvm|no guest_memfd|^valgrind does' "$file") || why="see its output"
	while IFS= read -r line; do
		case $line in
		"ok "*" - "*) ok "$name: ${line#* - }" ;;
		*" # SKIP "*) skip "$name: ${line#*# SKIP }" "$why" ;;
		"not ok "*" - "*) not_ok "$name: ${line#* - }"; failed=1 ;;
		esac
	done <"$file"
	if [[ $status != 0 && -z $failed ]] || ! grep -q '^ok ' "$file"; then
		not_ok "$name: ends well" "status $status"
		failed=1
	fi
	[[ -z $failed ]] || grep -v '^ok ' "$file" | tail -n 60 | sed 's/^/# /'
}

# units NAME DIR COMMAND...: run all unit tests of DIR by COMMAND.
units() {
	local name=$1 dir=$2 test status
	shift 2
	for test in "$dir"/lib/tests/test-*; do
		[[ -f $test && -x $test ]] || continue
		status=0
		timeout 900 "$@" "$test" >"$work/tap" 2>&1 || status=$?
		report "$name: ${test##*/test-}" "$status" "$work/tap"
	done
}

check "it builds, by gcc and by clang, with no warning" lib/build user clang

units here build/user
units valgrind build/user valgrind -q --error-exitcode=99 --leak-check=full \
	--suppressions=lib/tests/valgrind.supp

if check "it builds with the sanitizers" lib/build asan tsan; then
	units "ASan, UBSan" build/asan
	export TSAN_OPTIONS=suppressions=$root/lib/tests/tsan.supp
	units TSan build/tsan
	unset TSAN_OPTIONS
fi

# in_lab NAME OPTION... -- TEST...: on another kernel, one boot for all of them.
in_lab() {
	local name=$1 options=() test
	shift
	while [[ $1 != -- ]]; do options+=("$1"); shift; done
	shift
	rm -rf "$work/share"
	mkdir "$work/share"
	# shellcheck disable=SC2016 # for the guest's shell
	lab/boot --quiet "${options[@]}" --timeout 1500 --add "$work/root:/" --share "$work/share" -- \
		sh -c 'echo 16 >/proc/sys/vm/nr_hugepages; for t; do "/usr/local/bin/test-$t" >"/share/$t.tap" 2>&1; echo $? >"/share/$t.status"; done' - "$@" >"$work/said" 2>&1 ||
		not_ok "$name: boots, and has no complaints" "$(<"$work/said")"
	for test; do
		touch "$work/share/$test.tap"
		report "$name: $test" "$(cat "$work/share/$test.status" || echo none)" "$work/share/$test.tap"
	done
}

mapfile -t tests < <(find build/user/lib/tests -maxdepth 1 -type f -perm -u+x -name 'test-*' -printf '%f\n' | sed 's/^test-//' | sort)
lab/root "$work/root" "${tests[@]/#/build/user/lib/tests/test-}"
# What the kernel does not know of its parameters becomes the environment.
in_lab "patched kernel" --append CMOCKA_MESSAGE_OUTPUT=TAP -- "${tests[@]}"
in_lab "unpatched kernel" --append CMOCKA_MESSAGE_OUTPUT=TAP --unpatched -- context populate

done_testing
