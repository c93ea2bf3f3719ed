//go:build linux

package loader

import "fmt"

// effect is what attaching native XDP to an interface, or taking it off, does to the link.
type effect uint8

const (
	effectNone    effect = iota
	effectPauses         // receiving stops for milliseconds, the carrier stays
	effectReopens        // queues are torn down and set up again, the carrier goes
	effectResets         // the port or the whole device starts anew
)

func (e effect) String() string {
	return [...]string{"disturbs nothing", "stops receiving for a moment", "closes and reopens the link", "resets the link"}[e]
}

// vlanTag is where an XDP program finds the VLAN tag of a frame.
type vlanTag uint8

const (
	tagInFrame  vlanTag = iota
	tagStripped         // the NIC takes it out while rx-vlan-hw-parse is on: a reply by XDP_TX would leave untagged
	tagBeside           // it travels beside the frame if the sender's tx-vlan-hw-insert is on: the same
)

// evidence says how a row is known: run by our tests on such a device, be it one that qemu emulates, or read in the
// driver's source.
type evidence string

const (
	evidenceRun  evidence = "run"
	evidenceRead evidence = "read"
)

// driver is what must be known of a driver before a program is attached to its device, since one cannot try: the
// attempt is what takes the link down.
type driver struct {
	name        string
	native      bool   // has native XDP, with XDP_TX
	since       string // the first of the kernels read that has it, where 6.1 has not
	attach      effect
	replaceFree bool   // a program is exchanged for another without that effect
	peer        bool   // works only if the other end does its part: never by itself
	mtu         int    // the largest for a program without frags, on pages of 4 KiB; 0 where the driver has no limit of its own
	frags       string // a kernel from which a program with frags may have more; empty: none of those read
	queues      string // what it asks of the queues
	lro         bool   // refuses as long as rx-lro or rx-gro-hw is on
	vlan        vlanTag
	stats       string // its statistics of failed XDP_TX; empty: it has none, and only the tracepoint xdp_exception tells
	trap        string // what else one has to know
	source      string // relative to drivers/net, with the kernels read
	evidence    evidence
}

// driverTable has a row for each driver that we know something of, by its name in `ethtool -i`, or for virtual
// devices by their kind in `ip -d link`.
func driverTable() []driver {
	const v = "6.1, 6.12"
	return []driver{
		// Hardware that can.
		{name: "mlx5_core", native: true, attach: effectReopens, replaceFree: true, mtu: 3498, frags: "5.18", lro: true, vlan: tagStripped, stats: "rx*_xdp_tx_full, rx*_xdp_tx_err", source: "ethernet/mellanox/mlx5/core/en_main.c " + v, evidence: evidenceRead},
		{name: "mlx4_en", native: true, attach: effectResets, replaceFree: true, mtu: 3498, queues: "transmit rings are taken from the host's if all would exceed the maximum", vlan: tagStripped, stats: "rx*_xdp_tx_full", trap: "restarts the port", source: "ethernet/mellanox/mlx4/en_netdev.c " + v, evidence: evidenceRead},
		{name: "ice", native: true, attach: effectReopens, replaceFree: true, mtu: 3046, frags: "6.3", queues: "as many free transmit queues as half the CPUs", vlan: tagStripped, source: "ethernet/intel/ice/ice_main.c " + v, evidence: evidenceRead},
		{name: "i40e", native: true, attach: effectResets, replaceFree: true, mtu: 3046, frags: "6.4", queues: "twice its queue pairs", vlan: tagStripped, trap: "resets the physical function", source: "ethernet/intel/i40e/i40e_main.c " + v, evidence: evidenceRead},
		{name: "ixgbe", native: true, attach: effectReopens, replaceFree: true, mtu: 3050, queues: "at most 128 CPUs", lro: true, vlan: tagStripped, trap: "refuses with SR-IOV or DCB on", source: "ethernet/intel/ixgbe/ixgbe_main.c " + v, evidence: evidenceRead},
		{name: "ixgbevf", native: true, attach: effectReopens, replaceFree: true, mtu: 3050, vlan: tagStripped, source: "ethernet/intel/ixgbevf/ixgbevf_main.c " + v, evidence: evidenceRead},
		{name: "igb", native: true, attach: effectReopens, replaceFree: true, mtu: 3046, vlan: tagStripped, source: "ethernet/intel/igb/igb_main.c " + v, evidence: evidenceRead},
		{name: "igc", native: true, attach: effectReopens, mtu: 1500, vlan: tagStripped, trap: "reopens at every exchange too", source: "ethernet/intel/igc/igc_xdp.c " + v, evidence: evidenceRead},
		{name: "bnxt_en", native: true, attach: effectReopens, mtu: 3502, frags: "5.19", queues: "combined channels, and a transmit ring more for each receive ring", vlan: tagStripped, trap: "reopens at every exchange too", source: "ethernet/broadcom/bnxt/bnxt_xdp.c " + v, evidence: evidenceRead},
		{name: "ena", native: true, attach: effectReopens, replaceFree: true, mtu: 3498, queues: "at most half the maximum of channels", stats: "queue_*_xdp_tx_*_err", source: "ethernet/amazon/ena/ena_netdev.c 6.1, ena_xdp.c 6.12", evidence: evidenceRead},
		{name: "gve", native: true, since: "6.12", attach: effectReopens, mtu: 2032, queues: "as many receive as transmit queues, at most half the maximum", lro: true, stats: "rx_xdp_tx_errors", trap: "takes its queues down at every exchange too; only in the format GQI QPL; refuses with header split", source: "ethernet/google/gve/gve_main.c 6.12", evidence: evidenceRead},
		{name: "nicvf", native: true, attach: effectReopens, mtu: 1508, queues: "receive and transmit queues together within the maximum", vlan: tagStripped, trap: "reopens at every exchange too", source: "ethernet/cavium/thunder/nicvf_main.c " + v, evidence: evidenceRead},
		{name: "nfp", native: true, attach: effectReopens, replaceFree: true, queues: "a transmit ring more for each receive ring", vlan: tagStripped, source: "ethernet/netronome/nfp/nfp_net_common.c " + v, evidence: evidenceRead},
		{name: "qede", native: true, attach: effectReopens, vlan: tagStripped, trap: "reloads at every exchange too", source: "ethernet/qlogic/qede/qede_filter.c " + v, evidence: evidenceRead},
		{name: "atlantic", native: true, attach: effectReopens, replaceFree: true, mtu: 2048, frags: "6.1", vlan: tagStripped, trap: "switches LRO off without frags", source: "ethernet/aquantia/atlantic/aq_main.c " + v, evidence: evidenceRead},
		{name: "ionic", native: true, since: "6.12", attach: effectReopens, replaceFree: true, mtu: 3502, frags: "6.12", queues: "no split interrupts of receive and transmit", vlan: tagStripped, source: "ethernet/pensando/ionic/ionic_lif.c 6.12", evidence: evidenceRead},
		{name: "st_gmac", native: true, attach: effectReopens, replaceFree: true, mtu: 1500, vlan: tagStripped, source: "ethernet/stmicro/stmmac/stmmac_xdp.c " + v, evidence: evidenceRead},
		{name: "mvneta", native: true, attach: effectReopens, replaceFree: true, frags: "6.1", stats: "rx_xdp_tx_errors", trap: "refuses with hardware buffer management", source: "ethernet/marvell/mvneta.c " + v, evidence: evidenceRead},
		{name: "sfc", native: true, attach: effectNone, replaceFree: true, trap: "its rings for XDP_TX are made when it is probed, or not at all", source: "ethernet/sfc/efx.c " + v, evidence: evidenceRead},

		// Virtual machines.
		{name: "virtio_net", native: true, attach: effectPauses, mtu: 3506, frags: "6.3", queues: "a queue pair more for each CPU, or it transmits under a lock", stats: "*_xdp_tx_drops", trap: "receive offloads of the host (GRO_HW, checksum) go off for as long as it is attached; refuses where they cannot be controlled", source: "virtio_net.c " + v, evidence: evidenceRun},
		{name: "vmxnet3", native: true, since: "6.12", attach: effectResets, replaceFree: true, mtu: 3494, vlan: tagStripped, trap: "switches LRO off", source: "vmxnet3/vmxnet3_xdp.c 6.12", evidence: evidenceRun},
		{name: "hv_netvsc", native: true, attach: effectResets, replaceFree: true, mtu: 3500, lro: true, vlan: tagInFrame, trap: "hands the program to the virtual function under it, which then does what its own driver does", source: "hyperv/netvsc_bpf.c " + v, evidence: evidenceRead},
		{name: "mana", native: true, attach: effectNone, replaceFree: true, mtu: 3506, vlan: tagStripped, source: "ethernet/microsoft/mana/mana_bpf.c " + v, evidence: evidenceRead},
		{name: "vif", native: true, attach: effectReopens, mtu: 3840, trap: "says yes and attaches nothing if the other side has no headroom", source: "xen-netfront.c " + v, evidence: evidenceRead},
		{name: "tun", native: true, attach: effectNone, replaceFree: true, source: "tun.c " + v, evidence: evidenceRun},

		// Pairs within a host: nothing is disturbed, but XDP_TX leaves only if the other end has a program too.
		{name: "veth", native: true, attach: effectNone, replaceFree: true, peer: true, mtu: 3506, frags: "5.18", queues: "as many receive queues as its peer has transmit queues", vlan: tagBeside, stats: "rx_queue_*_xdp_tx_errors", trap: "it is the peer's MTU that counts", source: "veth.c " + v, evidence: evidenceRun},

		// Hardware that cannot.
		{name: "tg3", source: "ethernet/broadcom/tg3.c " + v, evidence: evidenceRead},
		{name: "bnx2x", source: "ethernet/broadcom/bnx2x " + v, evidence: evidenceRead},
		{name: "be2net", source: "ethernet/emulex/benet " + v, evidence: evidenceRead},
		{name: "e1000", source: "ethernet/intel/e1000 " + v, evidence: evidenceRead},
		{name: "e1000e", source: "ethernet/intel/e1000e " + v, evidence: evidenceRead},
		{name: "r8169", source: "ethernet/realtek/r8169_main.c " + v, evidence: evidenceRead},
		{name: "enic", source: "ethernet/cisco/enic " + v, evidence: evidenceRead},
		{name: "iavf", source: "ethernet/intel/iavf " + v, evidence: evidenceRead},

		// Devices upon devices: place.go says where the programs go instead.
		{name: "bond", trap: "a program on the bond goes to all members at once and answers by another member", source: "bonding/bond_main.c " + v, evidence: evidenceRun},
		{name: "team", source: "team " + v, evidence: evidenceRun},
		{name: "vlan", source: "net/8021q " + v, evidence: evidenceRun},
		{name: "vrf", source: "vrf.c " + v, evidence: evidenceRun},
		{name: "bridge", source: "net/bridge " + v, evidence: evidenceRun},
		{name: "macvlan", source: "macvlan.c " + v, evidence: evidenceRun},
		{name: "macvtap", source: "macvtap.c " + v, evidence: evidenceRead},
		{name: "ipvlan", source: "ipvlan " + v, evidence: evidenceRun},
		{name: "vxlan", source: "vxlan " + v, evidence: evidenceRun},
		{name: "dummy", source: "dummy.c " + v, evidence: evidenceRun},
		{name: "loopback", source: "loopback.c " + v, evidence: evidenceRun},
	}
}

// driverOf is the row for an interface, or what must be assumed of a driver that has none: the worst.
func driverOf(ifc Interface) driver {
	for _, d := range driverTable() {
		if d.name == ifc.Kind || ifc.Kind == "" && d.name == ifc.Driver {
			return d
		}
	}
	name := ifc.Driver
	if name == "" {
		name = ifc.Kind
	}
	if name == "" {
		name = "unknown"
	}
	return driver{name: name, native: true, attach: effectResets, vlan: tagStripped, trap: "not in the table: the worst is assumed", evidence: evidenceRead}
}

// mtuMend says how a refusal for the MTU is mended.
func (d driver) mtuMend(ifc Interface) string {
	limit := fmt.Sprintf("an MTU of at most %d", d.mtu)
	if d.mtu == 0 {
		limit = "a smaller MTU"
	}
	if d.frags != "" {
		return fmt.Sprintf("MTU %d needs a kernel from %s on, or %s", ifc.MTU, d.frags, limit)
	}
	return fmt.Sprintf("MTU %d needs %s", ifc.MTU, limit)
}
