//go:build linux

package loader

import "strings"

// driverXDPErrors returns those statistics of the driver that count frames which an XDP program wanted to transmit
// and which did not leave: that, and not the program's own counters, shows a step that answers into nothing. A
// driver without such statistics gives an empty map; then nothing is known.
func driverXDPErrors(ifname string) (map[string]uint64, error) {
	e, err := openEthtool()
	if err != nil {
		return nil, err
	}
	defer e.close()
	stats, err := e.stats(ifname)
	if err != nil {
		return nil, err
	}
	failed := make(map[string]uint64)
	for name, n := range stats {
		if countsFailedXDPTransmit(name) {
			failed[name] = n
		}
	}
	return failed, nil
}

// countsFailedXDPTransmit knows the names that drivers give: rx_queue_0_xdp_tx_errors (veth), rx0_xdp_tx_full and
// rx_xdp_tx_err (mlx5), tx_queue_1_xdp_tx_drops (virtio), rx_xdp_tx_errors[0] (gve). What a program itself dropped
// (xdp_drops) is no failure, nor is what others send through the device by redirect (xdp_xmit, tx_xdp).
func countsFailedXDPTransmit(name string) bool {
	_, after, ok := strings.Cut(strings.ReplaceAll(name, " ", "_"), "xdp_tx")
	if !ok {
		return false
	}
	return strings.Contains(after, "err") || strings.Contains(after, "full") || strings.Contains(after, "drop")
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}
