# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# shellcheck shell=dash
# What the tests of gmem run and gmem snapshot share, in the lab: TAP, and a machine.

export XDG_RUNTIME_DIR=/tmp/run
work=/tmp/work
said=/tmp/said
mkdir -p $XDG_RUNTIME_DIR $work
trap '' PIPE	# of a machine that has ended: what was to be typed does not matter
cd $work || exit

count=0
ok() { count=$((count + 1)); echo "ok $count - $1"; }
not_ok() {
	count=$((count + 1))
	echo "not ok $count - $1"
	[ -z "$2" ] || echo "$2" | tr -d '\r' | sed 's/^/# /'
}

# check NAME COMMAND...: it succeeds; what it says is for when not. In this very
# shell, for a command may start a machine.
check() {
	name=$1
	shift
	if "$@" >$said 2>&1; then ok "$name"; else not_ok "$name" "$(tail -n 50 $said)"; fi
}

# refused NAME REGEX COMMAND...: it fails, in one line that says why.
refused() {
	name=$1 regex=$2
	shift 2
	"$@" >$said 2>&1 </dev/null
	status=$?
	if [ $status = 1 ] && [ "$(wc -l <$said)" = 1 ] && grep -qE -e "$regex" $said; then
		ok "$name"
	elif [ $status = 2 ] && head -n 1 $said | grep -qE -e "$regex"; then
		ok "$name"
	else
		not_ok "$name" "status $status, wanted /$regex/: $(tail -n 20 $said)"
	fi
}

# -- a machine ---------------------------------------------------------------

# start OPTION...: run one, by the command $as, instead of that before; its console goes to
# $work/out.
machine=
as='env'
start() {
	stopped >/dev/null
	rm -f in
	mkfifo in
	: >out
	# shellcheck disable=SC2086 # an option or nothing
	$as gmem run ${secret-} "$@" <in >out 2>&1 &
	machine=$!
	exec 3>in
}

type_in() { echo "$1" >&3; }

# sees REGEX: it comes up on the console.
sees() {
	local n=0
	until grep -qE -e "$1" out; do
		n=$((n + 1))
		if [ $n = 3000 ] || ! kill -0 "$machine" 2>/dev/null; then
			grep -qE -e "$1" out && return
			echo "no /$1/ on the console:"
			tail -n 30 out
			return 1
		fi
		usleep 100000
	done
}

# ends STATUS: it does so, with that.
ends() {
	exec 3>&-
	local n=0
	while kill -0 "$machine" 2>/dev/null; do
		n=$((n + 1))
		[ $n != 3000 ] || kill -9 "$machine"
		usleep 100000
	done
	wait "$machine"
	status=$?
	machine=
	[ $status = "$1" ] && return
	echo "status $status, wanted $1:"
	tail -n 20 out
	return 1
}

# stopped: it ends by SIGTERM, if there is one.
stopped() {
	[ "$machine" ] && kill -TERM "$machine" 2>/dev/null || return 0
	ends 143
}

# alive: the machine's shell answers.
answers=0
alive() {
	answers=$((answers + 1))
	type_in "echo alive \$(($answers + 1000))"
	sees "alive $((answers + 1000))"
}

# -- a snapshot that cannot be -------------------------------------------------

# refusal REGEX COMMAND...: it fails with status 1 and one line.
refusal() {
	regex=$1
	shift
	"$@" >$said.one 2>&1 </dev/null
	status=$?
	[ $status = 1 ] && [ "$(wc -l <$said.one)" = 1 ] && grep -qE -e "$regex" $said.one && return
	echo "status $status of $*, wanted /$regex/:"
	tail -n 5 $said.one
	return 1
}

# unharmed DIR REGEX COMMAND...: it fails so, DIR has what it had, and the machine is there.
content() { (cd "$1" && find . | sort && ls -lie old old.state; md5sum old.state) 2>/dev/null; }
unharmed() {
	dir=$1
	shift
	content "$dir" >before
	refusal "$@" || return
	content "$dir" >after
	cmp before after && kill -0 "$machine"
}
