# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# shellcheck shell=bash
# For tests that run the programs of tests/stress/ in the lab.

# shellcheck source=tests/tap.sh
. "$(dirname "${BASH_SOURCE[0]}")/tap.sh"

# relay NAME COMMAND...: run what speaks TAP itself, more than once if it likes, and
# take over its results. What it says beside that is for whoever reads the log.
relay() {
	local name=$1 said status=0 line planned=0 seen=0
	shift
	said=$(mktemp)
	"$@" >"$said" 2>&1 || status=$?
	while IFS= read -r line; do
		line=${line%$'\r'}
		case $line in
		'ok '[0-9]*) seen=$((seen + 1)); ok "$name: $(sed -E 's/^ok [0-9]+ (- )?//' <<<"$line")" ;;
		'not ok '[0-9]*) seen=$((seen + 1)); not_ok "$name: $(sed -E 's/^not ok [0-9]+ (- )?//' <<<"$line")" ;;
		1..[0-9]*) planned=$((planned + ${line#1..})) ;;
		'#  RUN '* | '#            OK'* | 'TAP version'* | '# Starting'* | 'Random seed'*) ;;
		'#'*) echo "$line" ;;
		*) echo "# $line" ;;
		esac
	done <"$said"
	rm -f "$said"
	if ((planned == 0 || seen != planned)); then
		not_ok "$name: all tests ran" "$seen of $planned"
	else
		ok "$name: all $planned tests ran"
	fi
	case $status in
	0 | 1) ok "$name: the kernel has nothing to say" ;;
	*) not_ok "$name: the kernel has nothing to say" "status $status of: $*" ;;
	esac
}

# What write() promises, at length.
write_programs=(write-abi write-source write-pipe write-error write-wait write-place)

# at_length BOOT...: those programs, by BOOT, which is lab/boot or calls it. Two nodes that
# are small enough to be filled. A boot each: pages with a memory error are not given back.
at_length() {
	local dir program
	dir=$(mktemp -d)
	tests/stress/compile "$dir" "${write_programs[@]}" || return
	for program in "${write_programs[@]}"; do
		relay "$program" "$@" --timeout 600 --numa 2 --mem 2G --add "$dir/$program" -- "/bin/$program"
	done
	rm -r "$dir"
}

# What tests/stress/secret.c does direct I/O to.
# shellcheck disable=SC2034 # used by the tests that source this
disk=(--qemu-arg -blockdev --qemu-arg 'driver=null-co,node-name=disk,size=16777216'
	--qemu-arg -device --qemu-arg 'virtio-blk-pci,drive=disk')

# hostile PROFILE [OPTION]...: tests/stress/hostile-*.c on a kernel, with lab/boot's
# OPTIONs. A write of as much as a call can take needs 5 GiB.
hostile() {
	local profile=$1 callers=(hostile-source hostile-death hostile-limit hostile-descriptor) program adds=() dir
	shift
	dir=$(mktemp -d)
	tests/stress/compile "$dir" "${callers[@]}" || return
	for program in "${callers[@]}"; do adds+=(--add "$dir/$program"); done
	relay "$profile" lab/boot --quiet --profile "$profile" --timeout 900 "$@" "${adds[@]}" -- \
		sh -c "status=0; for p in ${callers[*]}; do /bin/\$p || status=1; done; exit \$status"
	rm -r "$dir"
}
