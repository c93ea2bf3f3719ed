package collector

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// hostDrops follows the counters of packets that this host dropped itself:
// softnet backlog, each interface's receive and transmit side, and its qdiscs.
type hostDrops struct{ last map[int]uint64 }

// growth is how many packets were dropped since the sample before, by interface
// index; index 0 is what belongs to no interface (the softnet backlog).
type growth map[int]uint64

// of returns the drops that can have hit a path over an interface; all of them
// if the interface is not known.
func (g growth) of(ifIndex int) uint64 {
	if ifIndex != 0 {
		return g[0] + g[ifIndex]
	}
	var sum uint64
	for _, n := range g {
		sum += n
	}
	return sum
}

func (h *hostDrops) sample() growth {
	now := map[int]uint64{0: softnetDrops()}
	if links, err := netlink.LinkList(); err == nil {
		for _, l := range links {
			if s := l.Attrs().Statistics; s != nil {
				now[l.Attrs().Index] += s.RxDropped + s.TxDropped + s.RxMissedErrors
			}
		}
	}
	if qdiscs, err := netlink.QdiscList(nil); err == nil {
		for _, q := range qdiscs {
			if q.Type() == "clsact" || q.Type() == "ingress" {
				continue // no queues: what their filters take counts as dropped, the replies that were captured among it
			}
			if s := q.Attrs().Statistics; s != nil && s.Queue != nil {
				now[q.Attrs().LinkIndex] += uint64(s.Queue.Drops)
			}
		}
	}
	grown := growth{}
	for i, n := range now {
		// A counter that fell was reset: nothing is known of this window.
		if was, ok := h.last[i]; ok && n > was {
			grown[i] = n - was
		}
	}
	h.last = now
	return grown
}

// softnetDrops sums the second column of softnet_stat, one line a CPU, in hex.
func softnetDrops() (sum uint64) {
	f, err := os.Open("/proc/net/softnet_stat")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if cols := strings.Fields(s.Text()); len(cols) > 1 {
			n, _ := strconv.ParseUint(cols[1], 16, 64)
			sum += n
		}
	}
	return sum
}
