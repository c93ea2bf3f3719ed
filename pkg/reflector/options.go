package reflector

import (
	"net/netip"
	"time"

	"github.com/llama-agent/llama-agent/internal/stamp"
)

// Defaults of Options and Policy.
const (
	DefaultPeerRate         = 100_000 // requests a second and source
	DefaultStrangerRate     = 1_000
	DefaultPeerSessions     = 65_536 // a worker
	DefaultSessionsPerPeer  = 4_096  // a source and worker
	DefaultStrangerSessions = 4_096  // a worker
	DefaultSocketBuffer     = 4 << 20
)

// Options say where to listen and how much to remember. They hold for the life
// of the Reflector, but for Policy, which Update replaces.
type Options struct {
	// Listen are the addresses to bind. One without an address (netip.Addr{})
	// stands for 0.0.0.0 and [::], the latter only where the host has IPv6.
	Listen []netip.AddrPort
	// Legacy are addresses where probes of Dropbox's LLAMA are answered, as Listen
	// has them, and nothing else is.
	Legacy []netip.AddrPort
	// Device binds the sockets to an interface or a VRF.
	Device string
	// Workers is the number of sockets and threads for each address; 0 is one
	// a core (GOMAXPROCS).
	Workers int

	Policy Policy

	// Clock is asked now and then, never for a packet; nil is NTP format and
	// an unknown error.
	Clock func() ClockState

	PeerSessions     int // a worker; DefaultPeerSessions if 0
	SessionsPerPeer  int // a source address and worker; DefaultSessionsPerPeer if 0
	StrangerSessions int // a worker; DefaultStrangerSessions if 0
	SocketBuffer     int // octets, each way; DefaultSocketBuffer if 0
}

// Policy says who is answered. Update swaps it while the workers run.
type Policy struct {
	// Allow are the sources that are answered; AllowAny is all of them.
	Allow    []netip.Prefix
	AllowAny bool
	// Peers are answered too. Their sessions live apart from those of others.
	Peers []netip.Prefix

	PeerRate     int // requests a second and source; DefaultPeerRate if 0
	StrangerRate int // likewise for all other sources; DefaultStrangerRate if 0

	// Allow862 answers requests from source port 862, as some routers send them.
	Allow862 bool
	// ReflectorPorts are ports of reflectors beside our own and 8100: never
	// answered as source ports, so that two reflectors cannot make a loop.
	ReflectorPorts []uint16
	// TWAMPLight answers requests of 41 to 43 octets, cut to their length.
	TWAMPLight bool
	// HideLocation answers Location TLVs (RFC 8972 section 4.2) with zeroes, not
	// with the request's addresses and ports as they arrived here.
	HideLocation bool
	// Auth are the keys. What matches one must authenticate.
	Auth []Auth
	// DenyDSCP are the code points that a Class of Service TLV may not ask for.
	DenyDSCP stamp.DSCPSet
}

// Auth is a key and what it is for: a request matches if its source is in
// Prefix (the zero Prefix is every source) and it has the SSID (0 is any).
type Auth struct {
	Prefix netip.Prefix
	SSID   uint16
	Key    []byte
}

// ClockState is what the host knows of its wall clock.
type ClockState struct {
	Clock    stamp.Clock
	Estimate stamp.ErrorEstimate
	// Sync is the source of synchronisation (stamp.SyncNTP …) for Timestamp
	// Information; 0 leaves that TLV unanswered.
	Sync uint8
}

// clockPeriod is how often Options.Clock is asked.
const clockPeriod = time.Second

func (o *Options) setDefaults(cores int) {
	setDefault(&o.Workers, cores)
	setDefault(&o.PeerSessions, DefaultPeerSessions)
	setDefault(&o.SessionsPerPeer, DefaultSessionsPerPeer)
	setDefault(&o.StrangerSessions, DefaultStrangerSessions)
	setDefault(&o.SocketBuffer, DefaultSocketBuffer)
	if o.Clock == nil {
		o.Clock = func() ClockState {
			return ClockState{Estimate: stamp.NewErrorEstimate(false, stamp.NTP, -1)}
		}
	}
}

func setDefault(v *int, d int) {
	if *v <= 0 {
		*v = d
	}
}
