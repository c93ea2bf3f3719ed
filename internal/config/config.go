package config

import (
	"net/netip"
	"os"
	"time"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// Config is a whole configuration, every default filled in.
type Config struct {
	Host        probe.Host
	ClockError  time.Duration // of this host's clock against UTC; 0: what the kernel says
	Datapath    Datapath
	Reflector   Reflector
	Classes     []probe.Class // those defined, in the file's order
	Probing     Probing
	Targets     []probe.Target // in the file's order, then those of the lists
	TargetsFrom TargetsFrom
	Sinks       []Sink
	Spool       Spool
	Scrape      Scrape
	API         API
	Watch       bool // load again when one of Files changes

	// Files are what was read: the file itself, the secrets that it names, and the patterns of lists.
	Files []string

	Warnings []Problem // what is allowed and probably not meant

	// Hash tells files apart: the first 48 bits of the SHA-256 of what [Load] read, lists too, which
	// every database keeps exactly; 0: from no file.
	Hash uint64
}

// Datapath says where packets are stamped and answered.
type Datapath struct {
	Mode       string   // auto, native, tc, generic or socket
	Interfaces []string // empty: those of the default routes and of the routes to targets
	ResetLink  bool     // native XDP may reset a link
	Lease      time.Duration
	Pin        string // folder in a bpffs
}

// Reflector is the Session-Reflector.
type Reflector struct {
	Listen        []netip.AddrPort // an invalid address: all, of both families; empty: no reflector
	Allow         Allow
	Peers         []netip.Prefix // beside the targets
	RatePeers     int            // packets/s a peer
	RateStrangers int            // packets/s a stranger
	TWAMPLight    bool           // answer requests of 41 to 43 octets
	Allow862      bool           // answer source port 862, which routers use
	Legacy        bool           // answer the probes of Dropbox's LLAMA, on LegacyPort of the addresses of Listen
	RefusePorts   []uint16       // of other reflectors: never answered as source ports
	Timestamps    Timestamps     // format of its stamps
	Location      bool           // report addresses and ports of a request in a Location TLV (RFC 8972 section 4.2)
	Workers       int            // 0: one a core
	Device        string         // the sockets are bound to it; empty: all
	Auth          []AuthRule     // the first that matches counts; what matches none is unauthenticated
}

// AuthRule says what must be authenticated (RFC 8762 section 4.4), and how.
type AuthRule struct {
	Prefix netip.Prefix // of the sender; invalid: any
	SSID   uint16       // 0: any
	Key    []byte       // for HMAC-SHA-256
}

// Family says which addresses of a target are probed.
type Family string

// The values of Family.
const (
	FamilyAny  Family = "any" // the first one of the answer
	Family4    Family = "4"
	Family6    Family = "6"
	FamilyBoth Family = "both" // one of each
)

// Timestamps is a format of timestamps on the wire (RFC 8762 section 4.2.1).
type Timestamps string

// The values of Timestamps.
const (
	TimestampsNTP Timestamps = "ntp" // RFC 5905, 32.32
	TimestampsPTP Timestamps = "ptp" // IEEE 1588, truncated; TAI where the kernel knows its offset
)

// Emit says how probes leave.
type Emit string

// The values of Emit.
const (
	EmitSocket Emit = "socket" // from UDP sockets
	EmitPacket Emit = "packet" // as frames from AF_PACKET sockets, where the kernel measures
)

// Probing says what is sent.
type Probing struct {
	Classes          []probe.Class // the one with index i has SSID i+1
	Sizes            []int         // octets of the IP packet, taken in turn; empty: as short as a probe can be
	Ports            int           // source ports, thus flows, a target and class
	SourcePorts      PortRange
	Rotate           float64 // fraction of the source ports that is replaced each hour
	Timing           probe.Timing
	MaxRate          int     // probes/s
	MaxRatePerTarget int     // probes/s
	MaxCPU           float64 // of one core; 0: no limit
	Allow            Allow
	Source           []netip.Addr // at most one a family; empty: by the route
	Device           string       // interface or VRF that probes leave by; empty: by the route
	Family           Family
	Timestamps       Timestamps // format of T1
	Emit             Emit
	Paths            []PathRule
	OneWay           bool    // report one-way delays
	AllFlowLines     bool    // llama_flow for all flows; false: for those with loss and for slow ones
	FlowSlow         float64 // factor on the 90 % quantile of a path's other flows; 0: no flow is slow
	MaxFlowLines     int     // llama_flow lines a window
}

// PathRule says how many equal paths lead to targets.
type PathRule struct {
	Tags  map[string]string // of the targets it is for; empty: all
	Count int
}

// LegacyPort is where reflectors of Dropbox's LLAMA listen; nothing that comes from
// there is answered.
const LegacyPort = 8100

// DefaultPort is STAMP's (RFC 8762 section 4).
const DefaultPort = 862

// Default is what the agent does without a file: it reflects and probes on
// 127.0.0.1 and ::1 only.
func Default() *Config {
	c := base()
	c.Datapath.Mode = "socket" // nothing is attached to any interface
	c.Host.Name = "localhost"
	if name, err := os.Hostname(); err == nil && checkText(name) == nil {
		c.Host.Name = name
	}
	c.Reflector.Listen = nil
	for _, a := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		c.Reflector.Listen = append(c.Reflector.Listen, netip.AddrPortFrom(a, DefaultPort))
		c.Targets = append(c.Targets, newTarget(a.String()))
	}
	return c
}

// base is what an empty file says, but for the host's name.
func base() *Config {
	be := probe.Class{Name: "be", DSCP: 0}
	return &Config{
		Datapath: Datapath{Mode: "auto", Lease: time.Minute, Pin: "/sys/fs/bpf/llama"},
		Reflector: Reflector{
			Listen:        []netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, DefaultPort)},
			Allow:         defaultAllow(),
			RatePeers:     100_000,
			RateStrangers: 1_000,
			Timestamps:    TimestampsNTP,
			Location:      true,
		},
		Classes: []probe.Class{be, {Name: "ef", DSCP: 46}},
		Probing: Probing{
			Classes:     []probe.Class{be},
			Ports:       32,
			SourcePorts: PortRange{20000, 24095},
			Timing: probe.Timing{
				Interval: time.Second,
				Timeout:  500 * time.Millisecond,
				Late:     2 * time.Second,
				Window:   10 * time.Second,
			},
			MaxRate:          20_000,
			MaxRatePerTarget: 1_000,
			MaxCPU:           0.5,
			Allow:            defaultAllow(),
			Family:           FamilyAny,
			Timestamps:       TimestampsNTP,
			Emit:             EmitSocket,
			FlowSlow:         2,
			MaxFlowLines:     1_000,
		},
		TargetsFrom: TargetsFrom{MaxShrink: 0.5},
		Spool:       Spool{Sync: true, MaxBytes: 1 << 30, MaxAge: 7 * day},
		Scrape:      Scrape{Interval: 30 * time.Second, Timeout: 5 * time.Second, Parallel: 32, MaxBytes: 64 << 20},
		API:         API{Listen: "127.0.0.1:5000"},
	}
}

func newTarget(name string) probe.Target {
	return probe.Target{Name: name, Address: name, Port: DefaultPort, TLV: true, SSID: true}
}
