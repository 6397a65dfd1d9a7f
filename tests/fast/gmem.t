#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The command line tool, and what make install and the Debian packages bring:
# here, on this machine's own kernel. tests/fast/populate.t has the rest.

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
check "make builds library and tool" make
check "what a newer compiler warns of does not fail it" \
	grep -q '"werror", "value": false' <(/usr/bin/meson introspect --buildoptions build/user)
gmem=$root/build/user/cli/gmem

# refuses STATUS TEXT ARG...: gmem says in one line, or two with a hint, what is wrong. One
# result for many of a kind: what was not so is in $wrong, verdict NAME tells.
wrong=''
refuses() {
	local want=$1 text=$2 status=0 said
	shift 2
	said=$("$gmem" "$@" 2>&1 >/dev/null </dev/null) || status=$?
	[[ $status == "$want" && $said == *"$text"* && $(wc -l <<<"$said") -le 2 ]] ||
		wrong+="gmem $*: status $status, not $want with \"$text\": $said"$'\n'
}
verdict() {
	if [[ -z $wrong ]]; then ok "$1"; else not_ok "$1" "$wrong"; fi
	wrong=''
}
fails() {
	refuses "$@"
	verdict "gmem ${*:3}: $2"
}
# prints TEXT ARG...: gmem succeeds, and its output has that.
prints() {
	local text=$1 said
	shift
	if said=$("$gmem" "$@" 2>&1 </dev/null) && [[ $said == *"$text"* ]]; then
		ok "gmem $*: $text"
	else
		not_ok "gmem $*: $text" "$said"
	fi
}
# json EXPRESSION ARG...: what gmem prints is JSON, and the expression of it holds.
json() {
	local expression=$1 said
	shift
	said=$("$gmem" "$@" 2>/dev/null </dev/null) || true
	if python3 -c 'import json, sys
r = json.loads(sys.argv[2])
sys.exit(not eval(sys.argv[1]))' "$expression" "$said" 2>"$work/err"; then
		ok "gmem $*: $expression"
	else
		not_ok "gmem $*: $expression" "$said$(<"$work/err")"
	fi
}

# Help, which fits a screen.
commands=$("$gmem" --complete | cut -f 1 | grep -v '^-' | grep -vx help)
fits_a_screen() { "$gmem" "$@" --help | tee "$work/help" && grep -q "^Usage: gmem" "$work/help" && (($(wc -l <"$work/help") <= 24 && $(wc -L <"$work/help") <= 90)); }
for command in '' $commands; do
	check "gmem $command --help fits a screen" fits_a_screen ${command:+"$command"}
done
letters() { for command in $commands; do "$gmem" "$command" --help | sed -nE 's/^  (-.), (--[a-z-]+).*/\1 \2/p'; done | sort -u; }
check_silent "one letter has one meaning" uniq -d <(letters | cut -d ' ' -f 1)
says "gmem alone tells how to use it" 2 "^Usage: gmem" "$gmem"
fails 2 "no such command: nonsense" nonsense
fails 2 "no such option: --nonsense" --nonsense

# What is wrong with a command line is told with the option's name.
refuses 2 "no such option: --nonsense" load --nonsense
refuses 2 "no such option: -x" load -x
refuses 2 "--size needs a value" load --size
refuses 2 "--pad takes no value" load --pad=yes image
refuses 2 "several options begin like that" load --o 4K image
refuses 2 "no such option: -x" load -qx image
verdict "options that are wrong"
refuses 2 "--size 12Q: not a size" load --size 12Q image
refuses 2 "-s 12MiBx: not a size" load -s 12MiBx image
refuses 2 "not a size" load --size= image
refuses 2 "--size 99999999999G: not a size" load --size=99999999999G image
refuses 2 "--method fast: one of: auto write mmap" load --method fast image
refuses 2 "--zero no: one of" load --zero no image
refuses 2 "--format gz: one of" load --format gz image
refuses 2 "--threads many: not a number" load --threads many image
refuses 2 "--threads -1: not a number" load --threads -1 image
refuses 2 "--threads 5000" load --threads 5000 image
refuses 2 "--chunk 100 bytes" load --chunk 100 image
refuses 2 "--order /no/such: No such file" load --order /no/such image
refuses 2 "--fd 99: not an open" load --fd 99 image
refuses 125 "--size 1Q: not a size" exec --size 1Q true
refuses 2 "--fd 1K: not an open" load --fd 1K image
refuses 2 "--threads 0x: not a number" load --threads 0x image
refuses 2 "--runs 0" bench --runs 0
refuses 2 "--size: a number of whole pages" bench --size 5
refuses 2 "--mem 10: not a multiple" run -qm010 -k /dev/null
verdict "values that are wrong"
refuses 2 "which IMAGE?" load
refuses 2 "--size is needed" load -
refuses 2 "unexpected argument: two" load one two
refuses 2 "unexpected argument: --pad" load one -- --pad
refuses 2 "unexpected argument: x" probe x
refuses 125 "which COMMAND?" exec --size 1M
refuses 125 "--size is needed" exec true
verdict "operands that are wrong"
prints "Usage: gmem load" help load
prints "Usage: gmem COMMAND" help
json "r == { 'command': 'load', 'ok': False, 'error': '--size 12Q: not a size such as 4096, 0x1000, 512M or 2G' }" load --size 12Q --json image
json "r == { 'command': 'load', 'ok': False, 'error': '/no/such: No such file or directory' }" load --json /no/such
json "r['command'] == 'exec' and not r['ok'] and 'COMMAND' in r['error']" exec --json --size 1M
fails 1 "/no/such: No such file" load /no/such
echo '0 5' >"$work/bad.order"
fails 2 "line 1" load --order "$work/bad.order" image
if "$gmem" probe --help >/dev/full 2>"$work/err"; then not_ok "a full disk is noticed"; else ok "a full disk is noticed: $(<"$work/err")"; fi

# An image that is something else.
head -c 8191 /dev/urandom >"$work/odd"
for magic in 'gzip \x1f\x8b' 'bzip2 BZh' 'xz \xfd7zXZ\x00' 'lz4 \x04\x22\x4d\x18' 'lz4 \x02\x21\x4c\x18' 'qcow2 QFI\xfb' \
	'VMDK KDMV' 'VHDX vhdxfile' 'ELF \x7fELF' 'kdump KDUMP   ' 'QEMU QEVM' 'virsh LibvirtQemudSave' 'snapshot gmem vm\n'; do
	# shellcheck disable=SC2059 # bytes
	(printf "${magic#* }" && cat "$work/odd") >"$work/other"
	refuses 1 "${magic%% *}" load --pad "$work/other"
done
verdict "what is no RAM image is refused by its name"

# The machine's own kernel.
json "any(f['name'] == 'GUEST_MEMFD_FLAG_WRITE' and (f['supported'] or f['why']) for f in r['features'])" probe --json
if [[ ! -c /dev/kvm ]]; then
	skip "populating on this machine" "there is no /dev/kvm"
elif ! "$gmem" probe >"$work/probe"; then
	skip "populating on this machine" "$(tail -n 1 "$work/probe")"
else
	check_silent "gmem probe --quiet" "$gmem" probe --quiet
	image=$work/image
	head -c 3M /dev/urandom >"$image"
	truncate -s 40M "$image"
	head -c 5M /dev/urandom >>"$image"
	prints "verified every byte" load --verify "$image"
	prints "45 MiB populated" load "$image"
	prints "verified every byte" load "$image" --verify -t 2
	prints "45 MiB populated" load -t 1 -- "$image"
	check_silent "gmem load --quiet" "$gmem" load --quiet "$image"
	json "r['ok'] and r['bytes'] == 45 << 20 and r['pages_written'] == 2048 and r['up_to'] == r['bytes']" load --json "$image"
	json "r['ok'] and r['pages_written'] == 11520 and len(r['threads']) == 2 and sum(t['bytes'] for t in r['threads']) == r['bytes']" \
		load --json -z write -t 2 "$image"
	json "r['ok'] and r['format'] == 'raw' and r['bytes'] == 45 << 20" load --json --offset 1M --size 0x3000000 "$image"
	json "not r['ok'] and 'do not fit' in r['error'] and r['bytes'] == 0" load --json --size 44M "$image"
	fails 1 "do not fit" load --offset 4K -s 45M "$image"
	fails 1 "page size" load --offset 1 -s 64M "$image"
	fails 1 "cannot create a guest_memfd of 5 bytes" load -s 5 "$image"
	zstd -q "$image" -o "$image.zst"
	json "r['ok'] and r['format'] == 'zstd' and r['bytes'] == 45 << 20 and r['verified']" load --json --verify "$image.zst"
	json "r['ok'] and r['format'] == 'raw' and r['bytes'] % 4096 == 0" load --json --pad --format raw "$image.zst"
	fails 1 "whole pages" load --format raw "$image.zst"
	fails 1 "no zstd image" load --format zstd -s 64M "$image"
	# A base, and what changed since: twice.
	truncate -s 46M "$work/one" "$work/two"
	head -c 8K /dev/urandom | dd of="$work/one" bs=4K seek=1 conv=notrunc status=none
	head -c 8K /dev/urandom | dd of="$work/two" bs=4K seek=2 conv=notrunc status=none
	head -c 4K /dev/urandom | dd of="$work/two" bs=4K seek=11775 conv=notrunc status=none
	cp "$image" "$work/merged" && truncate -s 46M "$work/merged"
	dd if="$work/one" of="$work/merged" bs=4K skip=1 seek=1 count=1 conv=notrunc status=none
	dd if="$work/two" of="$work/merged" bs=4K skip=2 seek=2 count=2 conv=notrunc status=none
	dd if="$work/two" of="$work/merged" bs=4K skip=11775 seek=11775 count=1 conv=notrunc status=none
	check "layers: $(du -k "$work/one" | cut -f 1) KiB upon the image, and more" "$gmem" exec -q -s 46M -- sh -c \
		"'$gmem' load -q --verify --fd 3 -l '$work/one' --layer '$work/two' '$image' && build/user/lib/tests/compare 3 0 '$work/merged'"
	json "r['ok'] and r['bytes'] == 46 << 20 and r['pages_written'] == 2049" load --json --layer "$work/one" --layer "$work/two" "$image"
	fails 1 "compressed" load --layer "$image.zst" "$image"
	fails 1 "a raw image, a file" load -s 64M --layer "$work/one" "$image.zst"

	# What begins with a frame to be skipped, as pzstd writes it; and what is something else, above.
	(printf '\x50\x2a\x4d\x18\x04\x00\x00\x00abcd' && cat "$image.zst") >"$work/pzstd"
	json "r['ok'] and r['format'] == 'zstd' and r['bytes'] == 45 << 20 and r['verified']" load --json --verify "$work/pzstd"
	prints "12 KiB populated" load --pad --format raw "$work/other"
	piecemeal() { (printf Q && sleep 0.3 && printf 'FI\xfb' && cat "$work/odd") | "$gmem" load --pad -s 1M -; }
	says "what comes in a pipe is looked at" 1 qcow2 piecemeal
	check "zstd in a pipe" sh -c "'$gmem' load -q --verify -s 64M - <'$image.zst' && cat '$work/pzstd' | '$gmem' load -q -s 64M -"
	for args in '' '--method io_uring' '--verify'; do
		# shellcheck disable=SC2086 # words
		says "gmem load $args -: stdin" 0 "-: 45 MiB populated" "$gmem" load $args -s 64M - <"$image"
	done
	check "gmem load --format zstd -: stdin" sh -c "zstdcat '$image.zst' | zstd | '$gmem' load --format zstd -s 64M -"
	printf '0x2800000 0x100000\n0 4096\n' >"$work/order"
	prints "verified every byte" load --order "$work/order" --verify "$image"
	: >"$work/empty"
	prints "0 bytes populated" load "$work/empty"

	# Interrupted, it says how far it came.
	mkfifo "$work/fifo"
	interrupted() {
		local sleeper loader status=0
		(head -c 8K /dev/zero && exec sleep 60) >"$work/fifo" &
		sleeper=$!
		env --default-signal=INT "$gmem" load -s 1M "$work/fifo" &
		loader=$!
		for ((i = 0; i < 300; i++)); do
			[[ $(cat "/proc/$loader/wchan" 2>/dev/null) != *poll* ]] || break
			sleep 0.1
		done
		kill -INT "$loader"
		wait "$loader" || status=$?
		kill "$sleeper"
		return "$status"
	}
	says "gmem load is interrupted by ^C" 1 'cancelled \(all below 0 of guest memory is done\)' interrupted

	prints "11 pages populated" exec -s 1M -- sh -c "head -c 44K /dev/urandom >'$work/x'; '$gmem' load --quiet --fd \$GMEM_FD '$work/x'"
	prints "11 pages populated" exec -s 1M -- "$gmem" load -q --fd {} "$work/x"
	json "r['command'] == 'exec' and r['ok'] and r['error'] is None and r['status'] == 3" exec --json -s 1M -- sh -c 'echo mine; exit 3'
	json "r['status'] == 0 and r['populated'] == 11 * 4096 and r['size'] == 1 << 20" exec --json -s 1M -- "$gmem" load -q --fd {} "$work/x"
	says "gmem exec returns the command's status" 42 '' "$gmem" exec -q -s 1M -- sh -c 'exit 42'
	fails 127 "no-such-command: No such file" exec -q -s 1M no-such-command
	fails 126 "/etc/passwd: Permission denied" exec -q -s 1M /etc/passwd
	json "r == { 'command': 'exec', 'ok': False, 'error': 'no-such-command: No such file or directory' }" exec --json -s 1M no-such-command
	fails 137 "pages populated" exec -s 1M sh -c 'kill -9 $$'

	prints "mmap + memcpy" bench --size 4M --runs 2
	json "len(r['ways']['mmap']['ms']) == 3 and r['ways']['limit']['median_ms'] > 0" bench --size 4M --runs 3 --json
fi

# A terminal has a progress bar if it takes long; with --quiet, or in a file, there is none.
on_terminal() { TERM=xterm script -qec "$1" /dev/null </dev/null 2>&1; }
slow="(for i in 1 2 3; do head -c 1M /dev/zero; sleep 1; done) | '$gmem' load -s 3M -"
if "$gmem" probe -q 2>/dev/null; then
	says "a progress bar" 0 'populating 2 MiB.*3 MiB populated' on_terminal "$slow"
	check_silent "no progress bar with --quiet" on_terminal "$slow --quiet"
	said=$(on_terminal "($slow) 2>&1 | cat") || true
	if [[ $said != *populating* ]]; then ok "no progress bar in a file"; else not_ok "no progress bar in a file" "$said"; fi
	fails 1 "larger than the 1048576 bytes" load -s 1M /dev/zero
else
	skip "a progress bar" "nothing can populate guest memory here"
fi

# Completion, as bash would do it.
export PATH=$root/build/user/cli:$PATH
complete_words() {
	# shellcheck source=cli/completion/gmem.bash disable=SC2034
	(. "$root/cli/completion/gmem.bash" && compopt() { :; } &&
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) && _gmem && echo "${COMPREPLY[*]}")
}
completes() {
	local want=$1 got
	shift
	got=$(complete_words "$@") || got=failed
	if [[ " $got " == *" $want "* ]]; then ok "completion: $* -> $want"; else not_ok "completion: $* -> $want" "$got"; fi
}
completes load gmem lo
completes --method gmem load --me
completes io_uring gmem load --method io
completes README.md gmem load READ
completes README.md gmem load --order READ
completes --record-order gmem run --rec
# fish tells; of zsh, whose completion is interactive, what it is told.
fish_completes() {
	(HOME=$work fish --no-config -c "source '$root/cli/completion/gmem.fish'; complete --do-complete '$1'")
}
check "fish completion" diff <(fish_completes "gmem load --meth" && fish_completes "gmem load --method io" && fish_completes "gmem pro" && fish_completes "gmem load --order READ") \
	<(printf '%s\t%s\n' --method "auto, write, mmap, sendfile or io_uring (auto)" && printf '%s\t%s\n' io_uring "auto, write, mmap, sendfile or io_uring (auto)" && printf 'probe\t%s\n' "tell what this kernel can do, and why not what it can't" && echo README.md)
zsh_told() {
	# shellcheck disable=SC2016 # for zsh
	zsh -f -c '
		_arguments() { print -l -- $@; }; _describe() { print -l -- $subcommands; }
		words=(${(s: :)1}) CURRENT=$#words; . cli/completion/_gmem' - "$1"
}
check "zsh completion" diff <(zsh_told "gmem lo" | grep '^load' && zsh_told "gmem load --" | grep -E '^--(fd|order|pad|format)') - <<-END
	load:populate guest memory from an image, and report
	--fd=[populate this guest_memfd, an open descriptor]:value: 
	--format=[auto, raw or zstd (auto: by how it begins)]:value:(auto raw zstd)
	--order=[populate the ranges first that this order file has]:file:_files
	--pad[fill up the last page with zeros]
END

# The manual.
formatted() { MANWIDTH=80 man --warnings -l -Tutf8 -Z --no-subpages "$1" 2>&1 >/dev/null </dev/null; }
for page in build/user/man/*.[1-9]; do
	check_silent "man: ${page##*/}" formatted "$page"
done
check_silent "mandoc -T lint" mandoc -T lint -W warning build/user/man/*.[1-9]
options_missing() {
	for command in $commands; do
		for option in $("$gmem" "$command" --complete | cut -f 1 | sed 's/^--//'); do
			[[ $option == help ]] || grep -q -- "\\\\-\\\\-${option//-/\\\\-}" "man/gmem-$command.1" man/gmem.1 || echo "$command --$option"
		done
	done
}
check_silent "every option is in its manual page" options_missing
members() { grep -oP 'json_\w+\("\K\w+' "cli/cmd-$1.c" | sort -u; }
members_missing() {
	for command in $commands; do
		for member in $(members "$command"); do
			sed -n '/^\.SH JSON$/,/^\.SH [^J]/p' "man/gmem-$command.1" | grep -qw "$member" || echo "$command $member"
		done
	done
}
check_silent "every member of JSON is in its manual page" members_missing
sed -n 's/^\t\(gmem_.*\);/\1/p' lib/libgmem.map | sort >"$work/map"
functions_missing() {
	while read -r name; do
		grep -qE "'$name'" man/meson.build || [[ -f man/$name.3 ]] || echo "$name"
	done <"$work/map"
}
check_silent "every function has a manual page" functions_missing

# What is exported is what the header has.
nm -D --defined-only build/user/lib/libgmem.so | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort >"$work/exported"
grep -oE '\bgmem_[a-z_]+\(' lib/gmem.h | tr -d '(' | sort -u >"$work/declared"
# Words with "(" in comments are manual pages.
check_silent "all that gmem.h declares is exported" comm -13 "$work/exported" <(grep -vE '^gmem_(context|options|create|order|demand|populate)$|_fn$' "$work/declared")
check_silent "the symbol map is what is exported" diff "$work/map" "$work/exported"
version=$(sed -n 's/^#define GMEM_VERSION\t\t*"\(.*\)"/\1/p' lib/gmem.h)
check "the header's version is Debian's" grep -q "^gmem ($version)" debian/changelog
prints "gmem $version" --version
prints "gmem $version" -V

# Installed: the header in C and C++, the example, the tool; and gone again.
export DESTDIR=$work/dest PREFIX=/usr
check "make install" make install
unset DESTDIR PREFIX
dest=$work/dest/usr
libdir=$(dirname "$(find "$dest" -name libgmem.so.0)")
export PKG_CONFIG_PATH=$libdir/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work/dest
# shellcheck disable=SC2046 # words
check "the example builds" gcc -Wall -Wextra -Werror -o "$work/example" lib/example.c $(pkg-config --cflags --libs libgmem)
# shellcheck disable=SC2046 # words
check "the example builds statically" gcc -Wall -Wextra -Werror -static -o "$work/example-static" lib/example.c \
	$(pkg-config --cflags --static --libs libgmem)
if (($(wc -l <lib/example.c) < 40)); then ok "the example is shorter than 40 lines"; else not_ok "the example is shorter than 40 lines"; fi
printf '#include <gmem.h>\nint main() { struct gmem_context *g; if (gmem_context_new(&g)) return 1; gmem_set_method(g, GMEM_METHOD_WRITE); gmem_context_free(g); }\n' >"$work/cxx.cc"
for std in 98 11 20; do
	# shellcheck disable=SC2046 # words
	check "the header in C++$std" g++ -std=c++$std -Wall -Wextra -Wpedantic -Wno-long-long -Werror -o "$work/cxx" "$work/cxx.cc" $(pkg-config --cflags --libs libgmem)
done
check "a C++ program runs" env LD_LIBRARY_PATH="$libdir" "$work/cxx"
printf '#include <gmem.h>\nint main(void) { return 0; }\n' >"$work/c.c"
check "the header in strict C99" gcc -std=c99 -pedantic-errors -Wall -Wextra -Werror -I "$dest/include" -o "$work/c" "$work/c.c"
if "$gmem" probe -q 2>/dev/null; then
	check "the example runs" env LD_LIBRARY_PATH="$libdir" "$work/example" "$work/image"
else
	skip "the example runs" "nothing can populate guest memory here"
fi
check "the installed tool runs" env LD_LIBRARY_PATH="$libdir" "$dest/bin/gmem" --version
check "the manual is installed" test -e "$dest/share/man/man3/gmem_populate_file.3" -a -e "$dest/share/man/man1/gmem.1"
export DESTDIR=$work/dest PREFIX=/usr
check "make uninstall" make uninstall
unset DESTDIR PREFIX
check_silent "nothing is left" find "$work/dest" ! -type d

# The Debian packages: built from a copy, lintian has nothing to say.
if packages=$(debian/packages 2>"$work/err"); then
	ok "the Debian packages build, and lintian is content"
	for package in libgmem0_ libgmem-dev_ gmem_; do
		if grep -q "/$package" <<<"$packages"; then ok "package ${package%_}"; else not_ok "package ${package%_}" "$packages"; fi
	done
else
	not_ok "the Debian packages build, and lintian is content" "$packages$(<"$work/err")"
fi

done_testing
