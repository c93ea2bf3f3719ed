package collector

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// hostDrops follows the counters of packets that this host dropped itself:
// softnet backlog, each interface's receive and transmit side, and its queues.
type hostDrops struct{ last map[int]drops }

// drops are the counters of one interface. rx_dropped is not among them: it also counts frames of protocols that nobody
// listens to (LLDP, STP), of other hosts' addresses, and with some drivers the replies that XDP took. Nothing was lost by these.
type drops struct{ missed, fifo, transmit, queues uint64 }

// since sums what the counters grew by. One that fell was reset: nothing is known of it in this window. Some drivers put the
// same drops under missed and fifo, others under either.
func (d drops) since(was drops) uint64 {
	grew := func(now, was uint64) uint64 { return max(now, was) - was }
	return max(grew(d.missed, was.missed), grew(d.fifo, was.fifo)) + grew(d.transmit, was.transmit) + grew(d.queues, was.queues)
}

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

// sample looks at the counters again. What is listed counts, also where a list was cut short, as when interfaces come and go.
func (h *hostDrops) sample() growth {
	links, _ := netlink.LinkList()
	qdiscs, _ := netlink.QdiscList(nil)
	return h.take(softnetDrops(), links, qdiscs)
}

// take does not take a counter that was not listed for 0: it would seem to grow by all that it ever counted the next time.
func (h *hostDrops) take(softnet uint64, links []netlink.Link, qdiscs []netlink.Qdisc) growth {
	now := map[int]drops{0: {queues: softnet}}
	for _, l := range links {
		if s := l.Attrs().Statistics; s != nil {
			i := l.Attrs().Index
			now[i] = drops{missed: s.RxMissedErrors, fifo: s.RxFifoErrors, transmit: s.TxDropped, queues: h.last[i].queues}
		}
	}
	for _, q := range qdiscs {
		setQueues(now, q.Attrs())
	}
	grown := growth{}
	for i, d := range now {
		if was, ok := h.last[i]; ok {
			grown[i] = d.since(was)
		}
	}
	h.last = now
	return grown
}

// setQueues notes what an interface's queues dropped, which its root reports for all that are below it. Neither ingress nor
// clsact is a root: they have no queues, and what their filters take counts as dropped, the replies that were captured among it.
func setQueues(now map[int]drops, q *netlink.QdiscAttrs) {
	d, known := now[q.LinkIndex]
	if !known || q.Parent != netlink.HANDLE_ROOT || q.Statistics == nil || q.Statistics.Queue == nil {
		return
	}
	d.queues = uint64(q.Statistics.Queue.Drops)
	now[q.LinkIndex] = d
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
