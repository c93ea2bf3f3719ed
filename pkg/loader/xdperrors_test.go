//go:build linux

package loader

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Native XDP on a veth whose other end runs no program counts success, and its replies never leave. The driver knows.
func TestDriverCountsRepliesThatDoNotLeave(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	reply := h.xdp("llama_xdp", xdpTX)
	_ = h.attach(ifc, ModeNative, programs{native: reply, generic: reply, tc: h.tc("llama_tc", tcShot)}, attachOptions{pin: h.pin})
	before, err := driverXDPErrors("eth0")
	require.NoError(t, err)
	require.NotEmpty(t, before)
	require.Zero(t, sum(before))
	h.send(ifc, 9)
	h.eventually(func() bool { return reply.count() == 9 }, "count: the program sees nothing wrong")
	h.eventually(func() bool {
		after, err := driverXDPErrors("eth0")
		return err == nil && sum(after) == 9
	}, "errors of the driver")
}

func TestNamesOfFailedTransmits(t *testing.T) {
	for name, want := range map[string]bool{
		"rx_queue_0_xdp_tx_errors":       true,  // veth
		"rx_queue_0_xdp_tx":              false, // veth: those that it took
		"rx_queue_0_xdp_drops":           false, // veth: the program's own verdict
		"tx_queue_0_xdp_xmit_errors":     false, // veth: redirects of others
		"rx3_xdp_tx_full":                true,  // mlx5
		"rx_xdp_tx_err":                  true,  // mlx5
		"rx_xdp_tx_cqe":                  false, // mlx5
		"tx_xdp_err":                     false, // mlx5: redirects of others
		"tx_queue_1_xdp_tx_drops":        true,  // virtio_net
		"rx_xdp_tx_errors[0]":            true,  // gve
		"queue_4_xdp_tx_dma_mapping_err": true,  // ena
		"queue_4_xdp_tx_cnt":             false, // ena
		"[drv] xdp tx errors":            true,  // dpaa2
		"rx_xdp_redirect_fail":           false, // mlx4
		"tx_errors":                      false,
		"queue_2_tx_dma_mapping_err":     false,
		"rx_queue_0_xdp_redirect_errors": false,
	} {
		require.Equal(t, want, countsFailedXDPTransmit(name), name)
	}
}

func TestEthtool(t *testing.T) {
	h := newHost(t)
	h.veth("eth0", 1500)
	e, err := openEthtool()
	require.NoError(t, err)
	defer e.close()
	require.Equal(t, "veth", e.driver("eth0"))
	on, err := e.features("eth0")
	require.NoError(t, err)
	require.True(t, on["rx-vlan-hw-parse"])
	require.False(t, on["rx-lro"])
	require.Contains(t, on, "rx-gro-hw")
	stats, err := e.stats("eth0")
	require.NoError(t, err)
	require.Contains(t, stats, "rx_queue_0_xdp_packets")
	_, err = e.stats("none0")
	require.Error(t, err)
	failed, err := driverXDPErrors("lo")
	require.NoError(t, err)
	require.Empty(t, failed, "nothing is known")
}
