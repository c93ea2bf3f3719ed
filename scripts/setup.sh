#!/usr/bin/env bash
# Installs through apt what is missing for the purpose named (test, generate, vm), and nothing if nothing is missing.
# Servers that tests deliver to are built into bin/tools where Debian has none, pinned, once. Without the right to install it says what to install, and goes on: what cannot run then is skipped by name,
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
unpack=()     # package:program…, to unpack only the programs of, into bin/tools
build=()      # program:version:package:tags, to build into bin/tools

need() { # program package
	has "$1" || packages+=("$2")
}

# needs_server wants a program of just this version and these build tags.
needs_server() { # program version package [tags]
	local built
	built=$(go version -m "$tools/$1" 2>/dev/null) || built=
	[[ $built == *"$2"* && $built == *"${4:+-tags=$4}"* ]] || build+=("$1:$2:$3:${4:-}")
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
	need dnsmasq dnsmasq-base                      # a name server; this package does not start one
	need depmod kmod                               # what modules need each other, as guests are told
	need systemd-analyze systemd                   # verifies the unit
	has influxd || unpack+=(influxdb:influxd)      # InfluxDB 1.6
	{ has prometheus && has promtool; } || unpack+=("prometheus:prometheus promtool")
	needs_server influxd-1.8 v1.8.10 github.com/influxdata/influxdb/cmd/influxd # the write API of 2.x too
	needs_server victoria-metrics v1.150.0 github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics
	needs_server telegraf v1.37.2 github.com/influxdata/telegraf/cmd/telegraf \
		custom,inputs.influxdb_listener,inputs.influxdb_v2_listener,inputs.socket_listener,inputs.execd,outputs.file,outputs.influxdb,parsers.influx,serializers.influx
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

# Of what a module brings, only the program is kept. It appears whole or not at all: others may build beside this.
for server in "${build[@]}"; do
	IFS=: read -r program version package tags <<<"$server"
	echo "setup: building $program $version into bin/tools (a minute or two, once)"
	mkdir -p "$tools"
	new=$(mktemp -d "$tools/new.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	if GOBIN=$new GOFLAGS='' CGO_ENABLED=0 go install -ldflags='-s -w' -tags="$tags" "$package@$version" 2>"$new/log"; then
		mv "$new/${package##*/}" "$tools/$program"
	else
		grep -v '^go: downloading' "$new/log" >&2 || true
		echo "setup: $program cannot be built; by hand: go install $package@$version" >&2
	fi
	rm -rf "$new"
done

all=("${packages[@]}" "${unpack[@]%%:*}")

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
apt() { DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get -qq -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@"; }
apt update || echo "setup: apt-get update failed, trying with the lists at hand" >&2

if [ ${#packages[@]} -gt 0 ]; then
	apt install -y --no-install-recommends "${packages[@]}" >/dev/null || missing "apt-get install failed"
fi

# A package with a service is only unpacked: installing it would enable and start a server on this host.
for entry in "${unpack[@]}"; do
	package=${entry%%:*}
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	(cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download "$package" && dpkg-deb -x ./*.deb root) || missing "apt-get download $package failed"
	mkdir -p "$tools"
	for program in ${entry#*:}; do
		install -m 755 "$dir/root/usr/bin/$program" "$tools/$program"
	done
	rm -rf "$dir"
done
