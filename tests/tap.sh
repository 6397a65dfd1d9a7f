# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# shellcheck shell=bash
# What the tests in bash share: lab/lib.sh, with which bash stops at what fails, and the root
# of the project to be in; TAP for prove. Plan at the end: done_testing.

# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lab/lib.sh"
# shellcheck disable=SC2034 # lab/lib.sh uses it
me=tests/${0##*tests/}
cd "$root"

count=0
ok() { echo "ok $((++count)) - $1"; }
not_ok() {
	echo "not ok $((++count)) - $1"
	[[ -z ${2-} ]] || echo "# ${2//$'\n'/$'\n'# }"
}
skip() { echo "ok $((++count)) - $1 # SKIP $2"; }
# figure WORDS...: something that was counted or measured, for the end of make test.
figure() { echo "## $*"; }
# try_again WHAT EXCUSED COMMAND...: run COMMAND; if it fails, and the command EXCUSED,
# which gets its status, knows that such a failure is QEMU's or the clock's, run it once
# more, and tell: tests/run counts the second tries.
try_again() {
	local what=$1 excused=$2 status=0
	shift 2
	"$@" || status=$?
	if ((status)) && "$excused" "$status"; then
		echo "##retry $what: status $status at first"
		status=0
		"$@" || status=$?
	fi
	return "$status"
}
# emulated: this machine's lab emulates the processor.
emulated() { [[ $(lab/accel 2>/dev/null) == tcg ]]; }
done_testing() { echo "1..$count"; }

# check NAME COMMAND...: the command succeeds; what it says is for when not.
check() {
	local name=$1 said
	shift
	if said=$("$@" 2>&1); then ok "$name"; else not_ok "$name" "status $?: $said"; fi
}

# check_silent NAME COMMAND...: the command succeeds and has nothing to say.
check_silent() {
	local name=$1 said
	shift
	if said=$("$@" 2>&1) && [[ -z $said ]]; then ok "$name"; else not_ok "$name" "$said"; fi
}

# says NAME STATUS PATTERN COMMAND...: the command ends with STATUS, and what it
# says matches PATTERN.
says() {
	local name=$1 want=$2 pattern=$3 said status=0
	shift 3
	said=$("$@" 2>&1) || status=$?
	if [[ $status == "$want" && $said =~ $pattern ]]; then ok "$name"; else not_ok "$name" "status $status: $said"; fi
}
