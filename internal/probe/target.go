package probe

import "time"

// Target is one destination as it was configured, before names are resolved.
type Target struct {
	Name    string            // tag dst; unique among the targets
	Address string            // host name or IP literal; Name if it was not given
	Port    uint16            // UDP port of its Session-Reflector
	Tags    map[string]string // become dst_<tag>
	TLV     bool              // the probe carries TLVs (RFC 8972); false: 44 octets
	SSID    bool              // the target returns SSIDs; false: source ports of its own for each class
	Paths   int               // number of equal paths to it; 0: not known
	Key     []byte            // HMAC-SHA-256 key (RFC 8762 section 4.4); nil: unauthenticated
}

// Class is one QoS class.
type Class struct {
	Name string // tag class
	DSCP uint8  // 0 to 63
}

// Host is what is known of the prober itself.
type Host struct {
	Name string            // tag src
	Tags map[string]string // become src_<tag>
}

// Timing is when probes leave and when each of them is given up.
type Timing struct {
	Interval time.Duration // between two probes of one flow
	Timeout  time.Duration // a reply after that is late
	Late     time.Duration // a probe is forgotten that long after it was sent; > Timeout
	Window   time.Duration // lines are written for windows of this length, aligned to the clock
}
