package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const depText = `kernel/drivers/net/veth.ko.xz:
kernel/drivers/net/vxlan/vxlan.ko.xz: kernel/net/ipv6/ip6_udp_tunnel.ko.xz kernel/net/ipv4/udp_tunnel.ko.xz
kernel/net/ipv6/ip6_udp_tunnel.ko.xz:
kernel/net/ipv4/udp_tunnel.ko.xz:
kernel/drivers/net/bonding/bonding.ko.xz: kernel/net/tls/tls.ko.xz
kernel/net/tls/tls.ko.xz:
kernel/net/8021q/8021q.ko.xz: kernel/net/802/garp.ko.xz kernel/net/llc/llc.ko.xz
kernel/net/802/garp.ko.xz: kernel/net/llc/llc.ko.xz
kernel/net/llc/llc.ko.xz:
kernel/net/sched/act-x.ko:
`

func TestModulesAreLoadedAfterWhatTheyNeed(t *testing.T) {
	tree := parseModules(depText, "kernel/net/packet/af_packet.ko\nkernel/drivers/net/virtio-net.ko\n")
	load, lacking := tree.order(parseWanted(`
# a comment
8021q
tls          # loaded before the next one
bonding      max_bonds=0 mode=1
garp         a=1
gone|vxlan
af_packet
nowhere|no_where
virtio_net
act_x
`))
	var names []string
	params := map[string]string{}
	for _, m := range load {
		names = append(names, m.name)
		params[m.name] = m.params
		require.Equal(t, tree.files[m.name], m.file)
	}
	require.Equal(t, []string{"llc", "garp", "8021q", "tls", "bonding", "ip6_udp_tunnel", "udp_tunnel", "vxlan", "act_x"}, names)
	require.Equal(t, "max_bonds=0 mode=1", params["bonding"])
	require.Equal(t, "a=1", params["garp"], "though 8021q needed it before")
	require.Equal(t, []string{"nowhere"}, lacking)
	require.Equal(t, "kernel/net/sched/act-x.ko", tree.files["act_x"])
}

func TestTheListOfModulesIsOne(t *testing.T) {
	all := parseWanted(modulesText)
	seen := map[string]bool{}
	for _, w := range all {
		require.False(t, seen[w.names[0]], "%s twice", w.names[0])
		seen[w.names[0]] = true
	}
	require.Contains(t, all, wanted{[]string{"bonding"}, "max_bonds=0"})
}
