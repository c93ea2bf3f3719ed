package hostinfo

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoInterface is in the error of a name that no interface has.
var ErrNoInterface = errors.New("there is no such interface")

// Interface is what is known of one network interface.
type Interface struct {
	Name    string `json:"name"`
	Index   int    `json:"index"`
	Kind    string `json:"kind"`             // lo, physical, or the kernel's word: veth, bond, bridge, vlan, team, macvlan …
	Driver  string `json:"driver,omitempty"` // as ethtool -i says
	Bus     string `json:"bus,omitempty"`    // where the device sits, such as 0000:3b:00.0
	MTU     int    `json:"mtu"`
	Up      bool   `json:"up"`
	Carrier bool   `json:"carrier"`
	// Queues in use (ethtool -l), else those that the kernel allocated.
	RxQueues int `json:"rx_queues"`
	TxQueues int `json:"tx_queues"`

	Channels    *Channels    `json:"channels,omitempty"`
	VFs         int          `json:"vfs,omitempty"` // virtual functions (SR-IOV)
	Offloads    []Offload    `json:"offloads,omitempty"`
	HeaderSplit string       `json:"header_split,omitempty"` // on, off; "": the driver does not say
	Moderation  *Moderation  `json:"moderation,omitempty"`
	XDP         *XDPFeatures `json:"xdp,omitempty"` // nil: the kernel does not say (before 6.3)
	Stamps      *Stamps      `json:"stamps,omitempty"`
	Programs    []Program    `json:"programs,omitempty"`
	Uppers      []Relative   `json:"uppers,omitempty"` // what is built on it
	Lowers      []Relative   `json:"lowers,omitempty"` // what it is built on
}

// A Reader reads interfaces of the network namespace in which it was opened.
type Reader struct {
	// Owner names who loaded a program, "" if that is not to be had; it may be nil.
	Owner func(programID uint32) string

	ethtool    ethtool
	ethtoolNL  *family // nil where the kernel has none
	netdev     *family // the same
	links      []netlink.Link
	byIndex    map[int]netlink.Link
	kindByLink map[int]string
}

// Open takes a list of the interfaces that there are now.
func Open() (*Reader, error) {
	e, err := openEthtool()
	if err != nil {
		return nil, err
	}
	r := &Reader{ethtool: e, byIndex: map[int]netlink.Link{}, kindByLink: map[int]string{}}
	if r.links, err = netlink.LinkList(); err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, errors.Join(fmt.Errorf("list interfaces: %w", err), e.close())
	}
	for _, l := range r.links {
		r.byIndex[l.Attrs().Index] = l
		r.kindByLink[l.Attrs().Index] = kindOf(l)
	}
	r.ethtoolNL, r.netdev = findFamily(unix.ETHTOOL_GENL_NAME), findFamily("netdev")
	return r, nil
}

// Close gives the descriptors back.
func (r *Reader) Close() error { return r.ethtool.close() }

// Name returns the name of an interface.
func (r *Reader) Name(index int) string {
	if l := r.byIndex[index]; l != nil {
		return l.Attrs().Name
	}
	return fmt.Sprintf("interface %d", index)
}

// Interface reads one interface, by name or alternative name. What a driver does
// not answer is left out.
func (r *Reader) Interface(name string) (Interface, error) {
	link, err := netlink.LinkByName(name)
	var none netlink.LinkNotFoundError
	switch {
	case errors.As(err, &none), errors.Is(err, unix.ENODEV), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
		return Interface{}, fmt.Errorf("interface %q: %w", name, ErrNoInterface)
	case err != nil:
		return Interface{}, fmt.Errorf("read interface %q: %w", name, err)
	}
	a := link.Attrs()
	i := Interface{Name: a.Name, Index: a.Index, Kind: kindOf(link), MTU: a.MTU, RxQueues: a.NumRxQueues, TxQueues: a.NumTxQueues,
		Up: a.RawFlags&unix.IFF_UP != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0, VFs: len(a.Vfs)}
	r.ethtool.read(&i)
	i.Moderation = r.moderation(a.Index)
	i.HeaderSplit = r.headerSplit(a.Index)
	i.XDP = r.xdpFeatures(a.Index)
	i.Uppers, i.Lowers = r.relatives(link)
	if i.Programs, err = r.programs(link); err != nil {
		return Interface{}, fmt.Errorf("read programs on %q: %w", name, err)
	}
	return i, nil
}

// kindOf returns the kernel's word for a kind of virtual interface.
func kindOf(l netlink.Link) string {
	switch {
	case l.Attrs().Flags&net.FlagLoopback != 0:
		return "lo"
	case l.Type() == "device": // the kernel names no kind: there is hardware, or a hypervisor, behind it
		return "physical"
	case l.Type() == "tuntap":
		return "tun" // the library's word for the kernel's
	}
	return l.Type()
}
