#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The upstream selftests of memslots, and of the memory in them, pass on the kernel that
# users run. We change none of them. tests/fast/guest_memfd.t has that of guest_memfd,
# which we do change, tests/full/upstream.t all of them; those of private memory need a
# kernel with KVM_SW_PROTECTED_VM, which Debian's has not.
# needs: stock minutes=2

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"
# shellcheck source=tests/upstream.sh
. tests/upstream.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/share"
with_options >"$work/share/tests" <<-'END'
	pre_fault_memory_test
	memslot_modification_stress_test
	memslot_perf_test
	kvm_page_table_test
	dirty_log_test
	demand_paging_test
END
selftests=$(lab/selftests) || exit
adds=()
while read -r test _; do adds+=(--add "$selftests/$test"); done <"$work/share/tests"
# shellcheck disable=SC2016 # for the lab's shell
check "the kernel has nothing to say" lab/boot --quiet --smp 2 --mem 4G --timeout 900 --share "$work/share" "${adds[@]}" -- \
	sh -c 'while read -r test options; do "/bin/$test" $options >"/share/$test.out" 2>&1 </dev/null; echo $? >"/share/$test.status"; done </share/tests'
passes() { [[ $(cat "$work/share/$1.status" 2>&1) == 0 ]] || { tail -n 15 "$work/share/$1.out"; return 1; }; }
while read -r test _; do
	check "$test" passes "$test"
done <"$work/share/tests"
done_testing
