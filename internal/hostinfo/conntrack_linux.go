package hostinfo

import (
	"strconv"
	"time"
)

// Conntrack is the table of connection tracking in this network namespace.
type Conntrack struct {
	Count int `json:"count"`
	Max   int `json:"max"`
	// UDPTimeout is how long a flow without an answer stays.
	UDPTimeout time.Duration `json:"udp_timeout_ns,omitempty"`
}

// ReadConntrack returns nil where the kernel tracks nothing.
func ReadConntrack() *Conntrack {
	const dir = "/proc/sys/net/netfilter/nf_conntrack_"
	count, err := strconv.Atoi(readLine(dir + "count"))
	if err != nil {
		return nil
	}
	limit, err := strconv.Atoi(readLine(dir + "max"))
	if err != nil {
		return nil
	}
	c := &Conntrack{Count: count, Max: limit}
	if s, err := strconv.Atoi(readLine(dir + "udp_timeout")); err == nil {
		c.UDPTimeout = time.Duration(s) * time.Second
	}
	return c
}
