package collector

import (
	"bytes"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// txStamps says whether what leaves by an interface gives a transmit stamp: the
// driver says so (ETHTOOL_GET_TS_INFO), and nothing keeps the stamps from us.
func txStamps(ifIndex int) bool {
	if b, err := os.ReadFile("/proc/sys/net/core/tstamp_allow_data"); err == nil && bytes.HasPrefix(b, []byte("0")) {
		return false // stamps with their packet are for CAP_NET_RAW only
	}
	link, err := netlink.LinkByIndex(ifIndex)
	if err != nil {
		return false
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolTsInfo(fd, link.Attrs().Name)
	return err == nil && info.So_timestamping&unix.SOF_TIMESTAMPING_TX_SOFTWARE != 0
}
