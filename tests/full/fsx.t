#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# Random operations on a guest_memfd that agree with a model of it, a million of them;
# and that fsx, which plays them, finds what is wrong and makes it short.
# needs: base debug minutes=7

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work/share"
tests/stress/compile "$work" fsx || exit

# play PROFILE OPS SEED...: what fails is left in build/stress, or the second time below it.
play() {
	local profile=$1 ops=$2 dir=build/stress$again
	shift 2
	again=/again
	tests/stress/play --profile "$profile" --ops "$ops" --save "$dir" "$@" >"$work/out" 2>"$work/err" && return
	local status=$?
	sed 's/^/# /' "$work/err" "$work/out"
	return "$status"
}
# What QEMU does wrong where it emulates the processor is not wrong a second time, when
# the same seeds play the same operations (docs/testing.md). What made the kernel
# complain is.
lost() { [[ $1 =~ ^(1|2|122)$ ]] && emulated; }

# plays NAME PROFILE OPS: with each of four seeds, two of which are new.
plays() {
	local start=$SECONDS status=0 seeds=(1 2 $((RANDOM << 15 | RANDOM)) $((RANDOM << 15 | RANDOM))) again=
	try_again "fsx, $2, seeds ${seeds[*]}" lost play "$2" "$3" "${seeds[@]}" || status=$?
	figure "fsx, $2: seeds ${seeds[*]} in $((SECONDS - start)) s: $(awk '/^seed [0-9]+: [0-9]+ operations/ { n += $3 } END { print n + 0 }' "$work/out") operations"
	sed -n "s/^by kind/# $2: &/p" "$work/out"
	if ((!status)); then
		ok "$1 ($((SECONDS - start)) s)"
	else
		not_ok "$1" "status $status, see build/stress"
	fi
}

plays "1 000 000 operations, base kernel" base 250000
plays "100 000 operations, debug kernel" debug 25000

# The tester
says "fsx: bad option" 2 'see fsx --help' "$work/fsx" --no-such
says "fsx: bad number" 2 'not a number' "$work/fsx" --seed x
says "fsx: no such sequence" 2 'No such file' "$work/fsx" --replay "$work/none"
printf 'new 11 4\nwrite 0 0\n' >"$work/bad.ops"
says "fsx: bad sequence" 2 'bad.ops:2: not an operation, or not with these arguments' "$work/fsx" --replay "$work/bad.ops"
says "fsx: bad wrong model" 2 'no such wrong model' "$work/fsx" --wrong-model none
says "tests/stress/play: bad seed" 125 'a seed is a number' tests/stress/play x
says "tests/stress/soak: bad time" 125 'HOURS is a number' tests/stress/soak x

wrong=(lost-page errno position hole)
# in_lab COMMAND: with fsx, where it leaves its sequences.
in_lab() { lab/boot --quiet --share "$work/share" --add "$work/fsx" -- sh -c "cd /share; $1" </dev/null; }
cp tests/fsx.ops "$work/share"
in_lab "
	fsx --replay fsx.ops >every-kind.out; echo \$? >>every-kind.out
	for how in ${wrong[*]}; do
		fsx --seed 3 --ops 20000 --wrong-model \$how --save \$how >\$how.out 2>\$how.err
		echo \$? >\$how.status
		fsx --wrong-model \$how --replay \$how.ops --save \$how.again >\$how.replay; echo \$? >>\$how.replay
		fsx --replay \$how.ops >\$how.right; echo \$? >>\$how.right
	done
	for n in 1 2; do fsx --seed 4 --ops 3000 2>/dev/null | grep -v second >same.\$n; done"
cd "$work/share"
says "a sequence of every kind: agrees" 0 "all agrees: ([0-9]+) of [0-9]+ operations apply"$'\n'"0$" cat every-kind.out
kinds=$(sed -n '/^by kind: /{s///p;q}' "$work/out" | tr ' ' '\n' | grep -c '^[a-z]') || true
check "a sequence of every kind: there are $kinds" test "$kinds" = "$(grep -o '^[a-z_0-9]*' fsx.ops | sort -u | wc -l)"
check "the same seed plays the same operations" cmp same.1 same.2
for how in "${wrong[@]}"; do
	length=$(grep -c '^[a-z]' "$how.ops") || length=none
	check "wrong model, $how: found" grep -qx 1 "$how.status"
	says "wrong model, $how: shrunk to 3 operations at the most ($length)" 0 '' test "$length" -le 3
	says "wrong model, $how: its sequence fails again" 0 "differs.*"$'\n'"1$" cat "$how.replay"
	says "wrong model, $how: and agrees with the right model" 0 "all agrees.*"$'\n'"0$" cat "$how.right"
done
done_testing
