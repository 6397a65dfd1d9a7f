# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The front door. No logic here: each target calls a script that also works by
# hand and has a --help of its own.

.PHONY: all setup install uninstall deb help demo bench test test-full soak fuzz mutants series clean distclean

all: ; @lib/build
setup: ; @lab/packages lib

help:
	@echo 'make setup      install the packages that make needs; all else installs its own'
	@echo 'make            build libgmem and gmem'
	@echo 'make install    install them (PREFIX=/usr/local, DESTDIR=); make uninstall'
	@echo 'make deb        build their Debian packages into build/deb'
	@echo 'make demo       see write() fill guest memory, on Debian'\''s kernel in QEMU'
	@echo 'make bench      measure write() against its rivals and the limits (BARE=1: on'
	@echo '                this machine'\''s own kernel)'
	@echo 'make test       see in minutes that it works (TESTS=tests/full/x.t: that one)'
	@echo 'make test-full  run every check and test (SHARD=1/3: a third of them)'
	@echo 'make soak       play random operations against a model (HOURS=1, seeds always new)'
	@echo 'make fuzz       fuzz the parsers of libgmem and gmem (MINUTES=10 of processor time, each)'
	@echo 'make mutants    break the kernel change in many ways, and see the tests notice'
	@echo 'make series     write the kernel change as a mail-ready series to build/'
	@echo 'make clean      delete build/'
	@echo 'make distclean  clean, and delete the cache of downloads and kernel builds'
	@echo
	@echo 'KERNEL_SRC=/path make ...  uses a Linux 7.3 tree of yours instead of Debian'\''s'
	@echo 'lab/boot -- COMMAND        runs a command on the patched kernel (lab/boot --help)'

install: ; @lib/install
uninstall: ; @lib/install --uninstall
deb: ; @lab/packages && debian/packages

demo: ; @lab/packages lab lib && demo/run
bench: ; @lab/packages && bench/run $(if $(BARE),--bare)
test: ; @lab/packages && tests/run $(TESTS)
test-full: ; @lab/packages && tests/run full $(if $(SHARD),--shard $(SHARD))
soak: ; @lab/packages && tests/stress/soak $(HOURS)
fuzz: ; @lab/packages && tests/fuzz/run $(if $(MINUTES),--minutes $(MINUTES))
mutants: ; @lab/packages && for series in base large-folios no-direct-map; do GMEM_SERIES=$$series tests/mutants/run || exit; done
series: ; @lab/packages && kernel/series

clean:
	rm -rf build

distclean: clean
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/gmem"
