package hostinfo

import (
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Moderation is how long the device may hold an interrupt back (ethtool -c).
// It is read by netlink, since the older ioctl says 0 for "not supported".
type Moderation struct {
	RxUsecs    *uint32 `json:"rx_usecs,omitempty"`
	RxFrames   *uint32 `json:"rx_frames,omitempty"`
	AdaptiveRx *bool   `json:"adaptive_rx,omitempty"` // then RxUsecs is only where it started
}

func (r *Reader) moderation(index int) *Moderation {
	a := r.ethtoolNL.get(unix.ETHTOOL_MSG_COALESCE_GET, ethtoolHeader(unix.ETHTOOL_A_COALESCE_HEADER, index))
	var m Moderation
	if v, ok := a.u32(unix.ETHTOOL_A_COALESCE_RX_USECS); ok {
		m.RxUsecs = &v
	}
	if v, ok := a.u32(unix.ETHTOOL_A_COALESCE_RX_MAX_FRAMES); ok {
		m.RxFrames = &v
	}
	if v, ok := a.u8(unix.ETHTOOL_A_COALESCE_USE_ADAPTIVE_RX); ok {
		on := v != 0
		m.AdaptiveRx = &on
	}
	if m == (Moderation{}) {
		return nil
	}
	return &m
}

// headerSplit: with headers and data in buffers of their own, no driver takes XDP.
func (r *Reader) headerSplit(index int) string {
	a := r.ethtoolNL.get(unix.ETHTOOL_MSG_RINGS_GET, ethtoolHeader(unix.ETHTOOL_A_RINGS_HEADER, index))
	v, _ := a.u8(unix.ETHTOOL_A_RINGS_TCP_DATA_SPLIT)
	return map[uint8]string{1: "off", 2: "on"}[v] // ETHTOOL_TCP_DATA_SPLIT_*; 0: unknown
}

func ethtoolHeader(kind, index int) *nl.RtAttr {
	h := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	h.AddRtAttr(unix.ETHTOOL_A_HEADER_DEV_INDEX, nl.Uint32Attr(uint32(index)))
	return h
}
