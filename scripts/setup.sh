#!/usr/bin/env bash
# Installs through apt what is missing for the purpose named (test, generate, vm), and nothing if nothing is missing.
# Without the right to install it says what to install, and goes on: what cannot run then is skipped by name,
# or fails where LLAMA_TEST_NOSKIP is set.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/bin/tools
export PATH=$tools:$PATH:/usr/sbin:/sbin

has() { command -v "$1" >/dev/null 2>&1; }

needs_go() {
	has go || { echo "setup: needs Go $(awk '/^go /{print $2}' go.mod) or newer, see https://go.dev/dl" >&2; exit 2; }
}

root=()
packages=()   # to install
unpack=()     # to unpack a single program from, into bin/tools

need() { # program package
	has "$1" || packages+=("$2")
}

case ${1:-} in
test)
	needs_go
	need gcc gcc                                   # the race detector
	[ -e /usr/include/stdlib.h ] || packages+=(libc6-dev)
	need ip iproute2                               # ip and tc: what tests do to a host of the lab
	need nft nftables                              # a host's own firewall
	need ethtool ethtool                           # a host's offloads
	need bpftool bpftool                           # what is pinned, as users look at it
	need nsenter util-linux                        # the lab starts processes in its namespaces
	need busybox busybox-static                    # reads the archives that guests boot from
	need depmod kmod                               # what modules need each other, as guests are told
	has influxd || unpack+=(influxdb)              # the sink's test against a real server
	;;
generate)
	version=${CLANG_VERSION:?which clang: make generate sets it}
	need "clang-$version" "clang-$version"
	need "llvm-strip-$version" "llvm-$version"
	need gcc gcc                                   # says where the headers of this architecture are
	[ -e /usr/include/linux/bpf.h ] || packages+=(linux-libc-dev)
	[ -e /usr/include/bpf/bpf_helpers.h ] || packages+=(libbpf-dev)
	;;
vm)
	needs_go
	need qemu-system-x86_64 qemu-system-x86        # the machine
	need busybox busybox-static                    # what a guest has for all other programs
	need depmod kmod                               # what modules need each other
	need xz xz-utils                               # modules are compressed
	[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || packages+=(debian-archive-keyring)
	need ip iproute2                               # programs for tests and engineers, copied into guests
	need nft nftables
	need nsenter util-linux
	need ethtool ethtool
	need bpftool bpftool
	;;
*)
	echo "usage: scripts/setup.sh test|generate|vm" >&2
	exit 2
	;;
esac

all=("${packages[@]}" "${unpack[@]}")

[ ${#all[@]} -gt 0 ] || exit 0

missing() {
	echo "setup: $1; install by hand: apt-get install ${all[*]}" >&2
	exit 0
}

has apt-get || missing "no apt-get here"
if [ "$(id -u)" -ne 0 ]; then
	has sudo && sudo -n true 2>/dev/null || missing "neither root nor sudo without a password"
	root=(sudo -n)
fi

echo "setup: installing ${all[*]}"
apt() { DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get -qq -o DPkg::Lock::Timeout=120 "$@"; }
apt update || echo "setup: apt-get update failed, trying with the lists at hand" >&2

if [ ${#packages[@]} -gt 0 ]; then
	apt install -y --no-install-recommends "${packages[@]}" >/dev/null || missing "apt-get install failed"
fi

# A package with a service is only unpacked: installing it would enable and start a database on this host.
for package in "${unpack[@]}"; do
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	(cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download "$package" && dpkg-deb -x ./*.deb root) || missing "apt-get download $package failed"
	mkdir -p "$tools"
	install -m 755 "$dir/root/usr/bin/influxd" "$tools/influxd"
	rm -rf "$dir"
done
