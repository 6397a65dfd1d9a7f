#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# Does our code touch memory that another processor touches at that moment, with
# nothing that orders the two? KCSAN watches the races of tests/stress/race and our selftest.
# What it sees in code of KVM that is not ours is shown, and is not held against us.
# needs: kcsan alone minutes=2

# shellcheck source=tests/stress.sh
. "$(dirname "$(readlink -f "$0")")/../stress.sh"

kernel=$(lab/kernel --profile kcsan) && selftests=$(lab/selftests) || exit
dir=build/tests/kcsan
rm -rf "$dir"
mkdir -p "$dir"
tests/stress/compile "$dir/bin" race || exit

our_functions=$(patches | xargs sed -nE 's/^\+[a-z].*\<(kvm_gmem_[a-z_]+)\(.*/\1/p' | sort -u | paste -sd '|')

# races: of a kernel's log, a line for each race that KCSAN reports: "ours" if either
# of its stacks goes through a function of ours, and which functions it is between. An
# interrupt has the stack of what it interrupted, and nothing to do with it; nor has what a
# notifier does that mm/ calls, for whoever unmaps something.
races() {
	tr -d '\r' | awk -v ours="^ ($our_functions)[+]" '
		{ sub(/^(\[[^]]*\])+ ?/, "") }
		/^BUG: KCSAN: / { race = $0; whose = "upstream" }
		/ by (task|interrupt)/ { by_task = / by task / }
		/^ __mmu_notifier_/ { by_task = 0 }
		race && by_task && $0 ~ ours { whose = "ours" }
		race && /^====/ { print whose, race; race = "" }' | sort | uniq -c
}

# race_by WHO [CALLEE]: a report with a function of ours in a stack of WHO's
race_by() {
	printf '[ 1.0] %s\r\n' 'BUG: KCSAN: data-race in a / b' "read to 0x1 of 8 bytes by $1 1 on cpu 1:" \
		' a+0x1/0x2' " ${2-c}+0x1/0x2" ' kvm_gmem_write_iter+0x1/0x2' '=====' | races
}
says "a task that comes by a function of ours has a race of ours" 0 'ours BUG.*/ b$' race_by task
says "what it has a notifier do is not ours" 0 'upstream BUG.*/ b$' race_by task __mmu_notifier_invalidate_range_start
says "an interrupt that comes amid one has not" 0 'upstream BUG.*/ b$' race_by interrupt

# lab PROGRAM ARG...: run it. Races that are not ours are no complaint of the kernel.
lab() {
	local status=0 log=$dir/console-$1 others
	lab/boot --quiet --kernel "$kernel" --smp 4 --numa 2 --timeout 600 --log "$log" --append kcsan.skip_watch=200 \
		--add "$dir/bin/race" --add "$selftests/guest_memfd_write_test" -- "/bin/$1" "${@:2}" 2>"$dir/said-$1" || status=$?
	races <"$log" >"$dir/races-$1"
	sed 's/^/# /' "$dir/races-$1"
	others=$(lab/splats "$log" | grep -v 'BUG: KCSAN: ') || true
	if ((status == 123)) && [[ ! $others ]] && ! grep -q ' ours ' "$dir/races-$1"; then
		status=0
	fi
	((!status)) || echo "# see $log${others:+: $others}"
	return "$status"
}

start=$SECONDS seconds=40
relay race lab race --secret --seconds "$seconds" --seed $((RANDOM + 1))
relay guest_memfd_write_test lab guest_memfd_write_test
figure "kcsan: $seconds s of races, and the selftest, in $((SECONDS - start)) s"
check "KCSAN sees a race when there is one" grep -q 'kcsan: selftest: .* passed' "$dir/console-race"
done_testing
