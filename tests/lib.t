#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# libgmem's unit tests: here, where KVM may have guest_memfd; under valgrind and
# the sanitizers; and on the patched kernel, which has write().

# shellcheck source=lab/lib.sh
. "$(dirname "$(readlink -f "$0")")/../lab/lib.sh"
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

# On the patched kernel, and on the one without the change.
mapfile -t tests < <(find build/user/lib/tests -maxdepth 1 -type f -perm -u+x -name 'test-*' | sort)
lab/root "$work/root" "${tests[@]}"
for kernel in patched unpatched; do
	kernel_option=()
	[[ $kernel == patched ]] || kernel_option=(--unpatched)
	for test in "${tests[@]}"; do
		status=0
		lab/boot --quiet "${kernel_option[@]}" --timeout 900 --add "$work/root:/" -- \
			env CMOCKA_MESSAGE_OUTPUT=TAP "/usr/local/bin/${test##*/}" >"$work/tap" 2>&1 || status=$?
		report "$kernel kernel: ${test##*/test-}" "$status" "$work/tap"
	done
done

done_testing
