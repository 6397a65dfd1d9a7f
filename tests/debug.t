#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# On the kernel that tells of every mistake it can: the selftests, ours and those of
# upstream that have to do with guest_memfd and memslots; every failure below write()
# (stress/inject). Then what of our code all that has reached. A leak scan follows
# each boot. What was printed is left in build/tests/debug/.

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/tap.sh"
cd "$(dirname "$(readlink -f "$0")")/.." || exit

kernel=$(lab/build --profile debug) && selftests=$(lab/selftests) || exit
dir=build/tests/debug
rm -rf "$dir"
mkdir -p "$dir/share"
stress/build "$dir/bin" inject || exit

programs=(guest_memfd_write_test guest_memfd_test set_memory_region_test pre_fault_memory_test
	x86/private_mem_conversions_test x86/private_mem_kvm_exits_test inject)
adds=()
for program in "${programs[@]}"; do
	[[ $program == inject ]] || adds+=(--add "$selftests/$program")
done
echo "# Linux $(<"$kernel/release"), KASAN, UBSAN, lockdep, page poisoning, kmemleak, page owner"
start=$SECONDS
check_silent "the debug kernel has nothing to say, and nothing leaked" \
	lab/boot --quiet --kernel "$kernel" --timeout 1200 --mem 2G --numa 2 --log "$dir/console" "${adds[@]}" \
	--add "$dir/bin/inject" --add tests/debug-guest --share "$dir/share" -- debug-guest "${programs[@]##*/}"
for program in "${programs[@]##*/}"; do
	output=$dir/share/$program.tap
	check "$program" test "$(cat "$dir/share/$program.status" 2>/dev/null)" = 0
	grep -E '^# (Totals|.* made to fail)' "$output" | sed 's/^# /#   /'
	grep -A 3 '^not ok' "$output" | sed 's/^/#   /'
done
echo "# in $((SECONDS - start)) s"

status=0
table=$(coverage/report "$kernel" "$dir/share" 2>&1) || status=$?
sed 's/^\(# \)\?/# /' <<<"$table"
check "the tests reach every line and branch, or coverage/unreached says why not" test "$status" = 0
done_testing
