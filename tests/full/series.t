#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The mail-ready series applies to a pristine Linux 7.3 with git am. After each patch KVM
# builds without a warning, as modules (kernel/config/modules.config), and needs nothing
# of the kernel that modules may not use, unless the series itself exports it. What the
# series comes to is what the lab boots; sparse and clang have nothing to say about it.
# needs: base minutes=5

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"
# shellcheck source=lab/kbuild.sh
. "$root/lab/kbuild.sh"

export GIT_COMMITTER_NAME='gmem developers' GIT_COMMITTER_EMAIL=gmem@localhost

pristine=$("$root/lab/fetch")
patched=$("$root/lab/tree")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$root/kernel/series" "$work" >/dev/null || exit
mapfile -t patches < <(find "$work" -name '0*.patch' ! -name '*cover-letter*' | sort)

# A tree of hard links, which git am replaces and never writes through. It is a
# git repository of the files that the series touches: those are all that git am
# has to know.
mkdir -p "$cache/tree"
tree=$(mktemp -d "$cache/tree/.series.XXXXXX")
trap 'rm -rf "$work" "$tree"' EXIT
find "$pristine" -mindepth 1 -maxdepth 1 ! -name .git -exec cp -al -t "$tree" {} +
git init --quiet "$tree"
git -C "$tree" config user.name 'gmem developers'
git -C "$tree" config user.email gmem@localhost
sed -n 's|^--- a/||p' "${patches[@]}" | sort -u |
	(cd "$tree" && while IFS= read -r file; do [[ ! -f $file ]] || git add -f "$file"; done)
git -C "$tree" commit --quiet -m 'Linux 7.3'
git -C "$tree" tag pristine

# quietly COMMAND...: it succeeds, and the compilers have no warning.
quietly() {
	local said
	said=$("$@" 2>&1) || { tail -n 30 <<<"$said"; return 1; }
	! grep -A 10 -E '(warning|error):' <<<"$said"
}

# build: what the last patch may have changed: KVM, other files, and selftests.
build() {
	local test objects selftests=$tree/tools/testing/selftests/kvm
	mapfile -t objects < <(git -C "$tree" show --format= --name-only HEAD | sed -nE '/^(tools|virt)/d; s/\.c$/.o/p')
	quietly kbuild "$tree" -j"$(nproc)" arch/x86/kvm/ "${objects[@]}" || return
	git -C "$tree" show --format= --name-only HEAD | sed -n 's|^tools/testing/selftests/kvm/\([a-z_]*\)\.c$|\1|p' |
		while IFS= read -r test; do
			quietly kbuild "$tree" headers_install INSTALL_HDR_PATH="$tree/obj/usr" &&
				quietly make -C "$selftests" ARCH=x86 CC='ccache gcc' OUTPUT="$tree/obj/selftests" \
					KHDR_INCLUDES="-isystem $tree/obj/usr/include" LINUX_HDR_PATH="$tree/obj/usr/include" \
					-j"$(nproc)" "$tree/obj/selftests/$test" || exit
		done
}

# used: what KVM's modules need of each other and of the kernel.
used() { nm -u "$tree"/obj/arch/x86/kvm/kvm{,-amd,-intel}.o | sed -n 's/^ *U //p' | sort -u; }

exported_by_us() { git -C "$tree" diff pristine | sed -n 's/^+EXPORT_SYMBOL_FOR_KVM(\(.*\));$/\1/p' | sort -u; }

# uses_what_is_exported BEFORE: the modules need nothing beyond what BEFORE lists, unless
# it is there for any module. To link them would take all of the kernel.
uses_what_is_exported() {
	local missing
	missing=$(used | comm -23 - "$1" | comm -23 - "$work/exported-to-all" | comm -23 - <(exported_by_us))
	[[ -z $missing ]] || { echo "not exported: $missing"; return 1; }
}

# same_as_lab: every file of the series is what the lab's patched tree has.
same_as_lab() {
	local file
	git -C "$tree" ls-files | while IFS= read -r file; do
		cmp "$tree/$file" "$patched/$file" || exit
	done
}

# recompile WORD ARG...: the files of KVM that the series touches; nothing may be
# said of them. Kbuild must say WORD of each, lest silence means it did nothing.
recompile() {
	local word=$1 said file files objects
	shift
	mapfile -t files < <(cd "$tree" && git ls-files 'virt/kvm/*.c')
	(cd "$tree" && touch "${files[@]}")
	objects=("${files[@]/%.c/.o}")
	# As Kbuild knows them, virt/kvm having no Makefile of its own.
	objects=("${objects[@]/#/arch/x86/kvm/../../../}")
	said=$(kbuild "$tree" -j"$(nproc)" W=1 "$@" "${objects[@]}" 2>&1) || { tail -n 30 <<<"$said"; return 1; }
	# Debian's sparse says so of every module_param() and MODULE_LICENSE() of Linux 7.3.
	said=$(sed '/: error: bad constant expression$/d' <<<"$said")
	for file in "${files[@]}"; do
		grep -qE "^  $word .*$(basename "$file" .c)\.[co]$" <<<"$said" || { echo "$file was not compiled"; return 1; }
		! grep -A 10 -E "$file:[0-9].*(warning|error)" <<<"$said" || return
	done
}

mkdir "$tree/obj"
check "the pristine kernel can be configured, KVM as modules" quietly configure "$tree" modules
check "it builds" build
used >"$work/used-before"
# Of the kernel that the lab boots, which has KVM built in: nothing is there for KVM alone.
kernel=$("$root/lab/kernel" --profile base) || exit
sed -n 's/.* __ksymtab_//p' "$kernel/System.map" | sort -u >"$work/exported-to-all"
says "what is there for KVM alone is told from what is there for all" 1 'not exported: ' uses_what_is_exported /dev/null
for patch in "${patches[@]}"; do
	name=$(sed -n 's/^Subject: //p' "$patch")
	check "git am: $name" git -C "$tree" am --quiet "$patch"
	check "it builds: $name" build
	check "... and could be linked" uses_what_is_exported "$work/used-before"
done
check "the result is what the lab builds" same_as_lab

# The cover letter says which patches can be left out: each of them, and each can be the only one.
mapfile -t optional < <(sed -nE 's/.*Patches ([0-9, and]+) can each be left out.*/\1/p' "$root/kernel/cover-letter" | grep -o '[0-9]*')
check "there are patches that can be left out" test ${#optional[@]} -gt 1
whole=$(git -C "$tree" rev-parse HEAD)
before=$(git -C "$tree" rev-list --reverse pristine..HEAD | sed -n "$((optional[0] - 1))p")
# only NUMBER...: of the optional patches there are these.
only() {
	local n
	git -C "$tree" checkout --quiet --detach "$before" || return
	for n; do
		git -C "$tree" am --quiet "${patches[n - 1]}" || { git -C "$tree" am --abort; return 1; }
	done
}
for n in "${optional[@]}"; do
	check "git am: patch $n alone" only "$n"
	mapfile -t others < <(printf '%s\n' "${optional[@]}" | grep -vx "$n")
	check "git am: all but patch $n" only "${others[@]}"
	check "it builds" build
done
git -C "$tree" checkout --quiet "$whole"

check "sparse" recompile CHECK C=1 CHECK='sparse -D__typeof_unqual__=__typeof__'

check "configured for clang" quietly kbuild "$tree" -s CC='ccache clang-19' olddefconfig
check "clang" recompile CC CC='ccache clang-19'

check "built in, gcc has no warning" quietly cat "$kernel/build.log"
done_testing
