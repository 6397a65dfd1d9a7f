# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# shellcheck shell=bash
# What every lab script shares: where things are, messages, locks, hashes.

set -euo pipefail
umask 022
export LC_ALL=C
# Debian's own tools, those that lab/packages installs: not a python3 of pyenv's
# that lacks their modules.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

me=lab/${0##*/}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/gmem

# Our series of patches, each on top of those before it: where they are under kernel/.
# GMEM_SERIES names the last that a kernel shall have, if not all.
series=(base large-folios no-direct-map)
[[ " ${series[*]} " == *" ${GMEM_SERIES:=${series[-1]}} "* ]] ||
	{ echo "$me: GMEM_SERIES=$GMEM_SERIES: one of ${series[*]}" >&2; exit 125; }
# for_modules: here, and in what is called, all but the last, which wants exports that
# Debian's kernels do not have.
for_modules() {
	[[ $GMEM_SERIES != "${series[-1]}" ]] || GMEM_SERIES=${series[-2]}
	export GMEM_SERIES
}
# wanted_series: those, in order.
wanted_series() { printf '%s\n' "${series[@]}" | sed "/^$GMEM_SERIES\$/q"; }
# series_dir NAME: where it is, relative to the root of the project.
series_dir() { [[ $1 == base ]] && echo kernel || echo "kernel/$1"; }
series_dirs() { wanted_series | while IFS= read -r name; do series_dir "$name"; done; }
# lab_only_dirs PROFILE...: what is never mailed: of kernels with those series, and of the
# profiles.
lab_only_dirs() {
	{ wanted_series; printf '%s\n' "$@"; } | while IFS= read -r name; do
		[[ ! -d $root/kernel/lab-only/$name ]] || echo "kernel/lab-only/$name"
	done
}
# patches: the patches of all those, in order.
patches() { series_dirs | while IFS= read -r dir; do printf '%s\n' "$root/$dir"/patches-7.3/*.patch; done; }

say() { printf '%s: %s\n' "$me" "$*" >&2; }
die() { say "$@"; exit 125; }

# The comment under a script's licence line is its help text.
usage() { awk 'NR > 2 && !/^#/ { exit } NR > 2 { sub(/^# ?/, ""); print }' "$0"; }
trap 'say "line $LINENO failed: $BASH_COMMAND"' ERR
bad_usage() { die "$* (see $me --help)"; }

# need_value OPTION "$@": an option that takes a value got one.
need_value() { [[ $# -ge 3 ]] || bad_usage "$1 needs a value"; }

# with_lock NAME: hold the lock until the script ends. Children must not inherit
# it, or a stray one would hold it for ever: start those with {lock_fd}>&-.
with_lock() {
	mkdir -p "$cache/lock" || die "cannot create $cache: set XDG_CACHE_HOME to a directory that can be written"
	exec {lock_fd}>"$cache/lock/$1"
	flock -n "$lock_fd" && return
	say "waiting for another run that is busy with the same ($1)"
	flock "$lock_fd"
}

# need_space MIB WHAT: refuse early rather than fail half-way.
need_space() {
	local free
	mkdir -p "$cache" || die "cannot create $cache: set XDG_CACHE_HOME to a directory that can be written"
	free=$(df -BM --output=avail "$cache" | tail -n 1 | tr -dc 0-9)
	((free >= $1)) ||
		die "not enough space in $cache: $2 needs $1 MiB, $free MiB are free; free some or point XDG_CACHE_HOME elsewhere"
}

# hash: a short name for what stdin says.
hash() { sha256sum | cut -c 1-16; }

# hash_files DIR: one hash of the names, modes and contents of all files below DIR.
hash_files() {
	[[ -d $1 ]] || { echo none; return; }
	(cd "$1" && find . -type f -printf '%m ' -print | sort -k 2 && find . -type f -print0 | sort -z | xargs -0r sha256sum) | hash
}

# prune DIR KEEP: delete all but the KEEP entries of DIR used last, and none used
# in the last two hours, for another run may be using those.
prune() {
	find "$1" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn | tail -n "+$(($2 + 1))" | cut -d ' ' -f 2- |
		while IFS= read -r old; do
			[[ -z $(find "$old" -maxdepth 0 -mmin +120) ]] || rm -rf "$old"
		done
}

# done_already DIR: the script ends, and prints it, if it is there.
done_already() {
	[[ -d $1 ]] || return 0
	touch "$1"
	echo "$1"
	exit
}

# for_arch NAME: the lab's machine, its kernel and its programs are x86's or arm64's: what
# differs is in lab/arch. ARCH of the environment says which, else it is this machine's.
for_arch() {
	[[ -f $root/lab/arch/$1 ]] || die "no architecture $1: there is $(cd "$root/lab/arch" && echo *)"
	export ARCH=$1
	# shellcheck source=lab/arch/x86
	. "$root/lab/arch/$1"
	# shellcheck disable=SC2034 # used by the scripts that source this
	[[ $ARCH != "$host" ]] || cross=	# this machine's own compiler
}

seconds_since() { echo $((SECONDS - $1)) s; }

host=$(uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')
for_arch "${ARCH:-$host}"
