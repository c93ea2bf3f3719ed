package hostinfo

import (
	"bytes"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Channels are an interface's queues (ethtool -l). A combined one receives and sends.
type Channels struct {
	Rx          int `json:"rx"`
	Tx          int `json:"tx"`
	Combined    int `json:"combined"`
	MaxRx       int `json:"max_rx"`
	MaxTx       int `json:"max_tx"`
	MaxCombined int `json:"max_combined"`
}

// Stamps is where an interface can take timestamps (ethtool -T).
type Stamps struct {
	HardwareRx bool `json:"hardware_rx"`
	HardwareTx bool `json:"hardware_tx"`
	RxAll      bool `json:"rx_all"` // of every packet, not only of PTP's
	SoftwareTx bool `json:"software_tx"`
	PHC        *int `json:"phc,omitempty"` // /dev/ptpN
}

// ethtool is a socket for SIOCETHTOOL.
type ethtool int

func openEthtool() (ethtool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open ethtool socket: %w", err)
	}
	return ethtool(fd), nil
}

func (e ethtool) close() error { return unix.Close(int(e)) }

// read fills in what the driver answers.
func (e ethtool) read(i *Interface) {
	if d, err := unix.IoctlGetEthtoolDrvinfo(int(e), i.Name); err == nil {
		i.Driver, i.Bus = unix.ByteSliceToString(d.Driver[:]), unix.ByteSliceToString(d.Bus_info[:])
	}
	if t, err := unix.IoctlGetEthtoolTsInfo(int(e), i.Name); err == nil {
		i.Stamps = stampsOf(t)
	}
	if c := e.channels(i.Name); c != nil {
		i.Channels, i.RxQueues, i.TxQueues = c, c.Rx+c.Combined, c.Tx+c.Combined
	}
	i.Offloads = e.offloads(i.Name)
}

func stampsOf(t *unix.EthtoolTsInfo) *Stamps {
	has := func(bit uint32) bool { return t.So_timestamping&bit != 0 }
	s := &Stamps{
		HardwareRx: has(unix.SOF_TIMESTAMPING_RX_HARDWARE),
		HardwareTx: has(unix.SOF_TIMESTAMPING_TX_HARDWARE),
		SoftwareTx: has(unix.SOF_TIMESTAMPING_TX_SOFTWARE),
		RxAll:      t.Rx_filters>>unix.HWTSTAMP_FILTER_ALL&1 != 0,
	}
	if n := int(t.Phc_index); n >= 0 {
		s.PHC = &n
	}
	return s
}

func (e ethtool) channels(name string) *Channels {
	var c struct { // struct ethtool_channels
		cmd, maxRx, maxTx, maxOther, maxCombined, rx, tx, other, combined uint32
	}
	c.cmd = unix.ETHTOOL_GCHANNELS
	if e.ioctl(name, unsafe.Pointer(&c)) != nil {
		return nil
	}
	return &Channels{Rx: int(c.rx), Tx: int(c.tx), Combined: int(c.combined),
		MaxRx: int(c.maxRx), MaxTx: int(c.maxTx), MaxCombined: int(c.maxCombined)}
}

// ioctl hands the kernel a command's struct, which it reads and fills.
func (e ethtool) ioctl(name string, command unsafe.Pointer) error {
	var req struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(req.name[:unix.IFNAMSIZ-1], name)
	req.data = command
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(e), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(command)
	if errno != 0 {
		return errno
	}
	return nil
}

// cString cuts a field of fixed size at its first zero.
func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
