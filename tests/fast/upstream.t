#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The unmodified upstream selftests of memslots, and of the memory in them, pass on the
# kernel that users run. tests/fast/guest_memfd.t has that of guest_memfd as we change it,
# tests/full/upstream.t all of them; those of private memory need a kernel with
# KVM_SW_PROTECTED_VM, which Debian's has not.
# needs: stock minutes=2

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"
cd "$(dirname "$(readlink -f "$0")")/../.." || exit
# shellcheck source=tests/upstream.sh
. tests/upstream.sh

results=build/tests/upstream-fast
rm -rf "$results"
mkdir -p "$results"
with_options >"$results/tests" <<-'EOF'
	pre_fault_memory_test
	memslot_modification_stress_test
	memslot_perf_test
	kvm_page_table_test
	dirty_log_test
	demand_paging_test
EOF
passes() { [[ $(outcome "$results" "$1") == pass ]] || { outcome "$results" "$1"; report "$results" "$1"; return 1; }; }
tests/upstream-run "$results" <"$results/tests" >"$results/outcomes" || not_ok "the tests run"
while read -r test _; do
	check "$test" passes "$test"
done <"$results/tests"
done_testing
