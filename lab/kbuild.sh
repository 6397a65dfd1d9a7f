# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2154 # lib.sh sets $cache, $cross
# How the lab calls Kbuild. Source after lib.sh.

# In depend mode ccache doesn't preprocess each file first, which makes a build
# that finds nothing in the cache a fifth longer.
export CCACHE_DIR=$cache/ccache CCACHE_MAXSIZE=5G CCACHE_NOHASHDIR=1 CCACHE_DEPEND=1
# The same source gives the same kernel, bit for bit.
export KBUILD_BUILD_TIMESTAMP='Thu Jan 1 00:00:00 UTC 2026' KBUILD_BUILD_USER=gmem KBUILD_BUILD_HOST=lab KBUILD_BUILD_VERSION=1

# kbuild TREE ARG...: make in TREE, with the objects in TREE/obj. Right below the
# source Kbuild gives the compiler relative paths, which are the same in every
# tree: only then does ccache know a file it has seen in another one.
kbuild() {
	local tree=$1
	shift
	make -C "$tree" O="$tree/obj" CROSS_COMPILE="$cross" CC="ccache ${cross}gcc" HOSTCC="ccache gcc" "$@"
}

# configure TREE PROFILES [ARG]...: tinyconfig and what kernel/config says of each of
# PROFILES, e.g. "base arch/x86 debug". Fails, and says so, when a setting did not survive.
configure() {
	local tree=$1 profiles=$2 profile fragments=() lost
	shift 2
	for profile in $profiles; do fragments+=("$root/kernel/config/$profile.config"); done
	kbuild "$tree" -s "$@" tinyconfig &&
		"$tree/scripts/kconfig/merge_config.sh" -m -O "$tree/obj" "$tree/obj/.config" "${fragments[@]}" &&
		kbuild "$tree" -s "$@" olddefconfig || return
	lost=$(lost_settings "$tree/obj/.config" "${fragments[@]}")
	[[ -z $lost ]] || die "$profiles: the configuration did not keep ${lost//$'\n'/, } (what do they depend on?)"
}

# lost_settings CONFIG FRAGMENT...: the fragments' settings that CONFIG does not
# have, the later fragment's word being the last. A symbol that is not there at
# all is as good as one not set.
lost_settings() {
	awk '
		function name(line) { match(line, /CONFIG_[A-Za-z0-9_]+/); return substr(line, RSTART, RLENGTH) }
		!/^(# )?CONFIG_/ { next }
		FILENAME == config { got[name($0)] = $0; next }
		{ want[name($0)] = $0 }
		END { for (n in want) if (n in got ? got[n] != want[n] : want[n] !~ /^#/) print want[n] }
	' config="$1" "${@:2}" "$1"
}
