#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The form of what we write: shellcheck for scripts, clang-format for C, checkpatch for
# the kernel, and who may include whom.

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"

mapfile -t scripts < <(git ls-files -z --cached --others --exclude-standard | xargs -0 grep -lE -m1 '^#!/bin/(ba)?sh|shellcheck shell=' --)
check_silent "shellcheck: ${#scripts[@]} scripts" shellcheck -x "${scripts[@]}"

# circles DIR: NAME.c and NAME.h are one; who includes whom goes round in none.
circles() {
	grep -oE '^#include "[^"/]*"' "$1"/*.[ch] | sed -E 's|^[^:]*/(.*)\.[ch]:.*"(.*)\.h"|\1 \2|' | grep -vE '^(.*) \1$' | { tsort >/dev/null; } 2>&1
}
for dir in lib cli vmm tests/stress/{fsx,race}; do check_silent "no circle of includes in $dir/" circles "$dir"; done

# White space before a comment or a value may align it with its neighbours; all else is .clang-format's.
one_blank() { sed -E 's/([^[:space:]])[[:space:]]+/\1 /g' "$@"; }
c_style() {
	local file
	for file in {lib,cli,vmm}/*.[ch]; do
		diff --label "$file" --label "$file" -u <(one_blank "$file") <(clang-format-19 "$file" | one_blank) || true
	done
}
check_silent "clang-format: lib, cli and vmm" c_style

# FILE_PATH_CHANGES asks whether MAINTAINERS needs an entry for a new file: all
# of ours are in directories that it has. UNKNOWN_COMMIT_ID asks for the history of
# Linux, which a package of its source does not have.
checkpatch() {
	(cd "$pristine" && scripts/checkpatch.pl --strict --codespell --codespellfile="$mailed/dictionary" --terse --no-summary \
		--ignore FILE_PATH_CHANGES,UNKNOWN_COMMIT_ID "$1")
}
pristine=$(lab/fetch)
mailed=$(mktemp -d)
trap 'rm -rf "$mailed"' EXIT
# iput() is a function of the kernel.
grep -v '^iput->' /usr/lib/python3/dist-packages/codespell_lib/data/dictionary.txt >"$mailed/dictionary" || exit
kernel/series "$mailed" >/dev/null || exit
for patch in "$mailed"/*/0*.patch; do
	[[ $patch == *cover-letter* ]] || check_silent "checkpatch: ${patch##*/}" checkpatch "$patch"
done

check "Linux 7.2 gets the same change" kernel/port --check 7.2
for name in "${series[@]}"; do
	check "every mutant still fits the $name series" env GMEM_SERIES="$name" tests/mutants/run --check
done
done_testing
