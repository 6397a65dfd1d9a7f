# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# shellcheck shell=bash
# How the lab fetches Debian packages: from the mirror that this machine's own apt
# names, verified by apt's signatures, through an apt state of the lab's own. The
# machine's sources and packages stay as they are. Source after lib.sh.

suite=trixie
# What configure_apt makes known: the kernels that the lab boots.
apt_suite=$suite-backports apt_arch=amd64
# shellcheck disable=SC2154 # $cache is lib.sh's
state=$cache/apt

# debian_sources SUITE...: lines for a sources.list, from what the machine's own apt
# says, in whatever format its sources are written.
debian_sources() {
	local uri entry keyring codename
	command -v apt-get >/dev/null || die "no apt-get here: set KERNEL_SRC to a Linux 7.3 source tree"
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
	# shellcheck disable=SC2016 # these are for apt to expand
	read -r uri entry < <(
		env -u APT_CONFIG apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI) $(SOURCESENTRY)' 'Created-By: Packages' |
			awk -v code="$codename" '$2 == "main" && ($1 == code || $1 !~ /[-\/]/) { print ($1 != code), $3, $4 }' |
			sort -s -n | cut -d ' ' -f 2- | head -n 1
	) || die "apt has no Debian archive configured: set KERNEL_SRC to a Linux 7.3 source tree"
	keyring=$(grep -oiP '^[^#]*signed-by[:=]\s*\K/[^\s\],]+' "${entry%:*}" | head -n 1) || true
	[[ -n $keyring || ! -f /usr/share/keyrings/debian-archive-keyring.gpg ]] ||
		keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	printf "deb ${keyring:+[signed-by=$keyring]} $uri %s main\n" "$@"
}

# Make apt-get and apt-cache use the lab's state.
configure_apt() {
	local sources
	sources=$(debian_sources $apt_suite) || exit
	mkdir -p "$state/lists/partial" "$state/archives/partial"
	echo "$sources" >"$state/sources.list"
	cat >"$state/apt.conf" <<-EOF
		Dir::Etc::SourceList "$state/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::Etc::PreferencesParts "/dev/null";
		Dir::State::Lists "$state/lists";
		Dir::State::Status "/dev/null";
		Dir::Cache "$state";
		Dir::Cache::Archives "$state/archives";
		Acquire::Languages "none";
		Acquire::Retries "2";
		APT::Sandbox::User "root";
		APT::Update::Error-Mode "any";
		APT::Architecture "$apt_arch";
		APT::Architectures "$apt_arch";
	EOF
	export APT_CONFIG=$state/apt.conf
}

# What apt says when it fails, in one line, for the end of our message.
apt_error() { sed -n 's/^[EW]: *//p' "$state/log" | head -n 1; }

# download DIR PACKAGE=VERSION...: the .debs into DIR. Needs configure_apt.
download() {
	local dir=$1
	shift
	(cd "$dir" && apt-get -q download "$@" >"$state/log" 2>&1) ||
		die "cannot download ${*//=/ }: $(apt_error)"
}
