//go:build linux

package collector

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// A frame of a protocol that the host does not speak, as a switch sends them all day, is no drop.
func TestUnheardFramesAreNoDrops(t *testing.T) {
	l := lab.ForTest(t, 2)
	h, neighbour := l.Host(1), l.Host(2)
	_, err := l.Cable(h, neighbour)
	require.NoError(t, err)
	rxDropped := func() (index int, n uint64) {
		require.NoError(t, h.Do(func() error {
			link, err := netlink.LinkByName("eth1")
			require.NoError(t, err)
			index, n = link.Attrs().Index, link.Attrs().Statistics.RxDropped
			return nil
		}))
		return index, n
	}
	var host hostDrops
	dropsIn(t, h, &host)
	index, before := rxDropped()
	require.NoError(t, neighbour.Do(func() error { return sendLLDP("eth1", 3) }))
	require.Eventually(t, func() bool { _, n := rxDropped(); return n >= before+3 }, 10*time.Second, 10*time.Millisecond, "the kernel counts them")
	require.Zero(t, dropsIn(t, h, &host)[index])
}

// A root queue reports what those below it dropped, mq by adding them up, and others by counting what they could not hand on.
// The kernel tells the sender of each packet that a queue did not take.
func TestDropInAQueueCountsOnce(t *testing.T) {
	lab.Require(t, lab.TokenBucket)
	for name, queues := range map[string]string{
		"mq":           "root handle 1: mq, parent 1:1 TBF, parent 1:2 TBF",
		"tbf":          "root TBF",
		"tbf in a tbf": "root handle 1: TBF, parent 1:1 TBF",
	} {
		t.Run(name, func(t *testing.T) {
			h := lab.ForTest(t, 1).Host(1)
			require.NoError(t, h.Do(func() error { // IPv6 says things of its own
				return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o600)
			}))
			ipIn(t, h, "link add q0 numtxqueues 2 type veth peer name q1 numrxqueues 2")
			ipIn(t, h, "addr add 192.0.2.1/24 dev q0")
			ipIn(t, h, "link set q1 up")
			ipIn(t, h, "link set q0 up")
			ipIn(t, h, "neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev q0")
			for _, q := range strings.Split(strings.ReplaceAll(queues, "TBF", "tbf rate 8kbit burst 1600 limit 1600"), ", ") {
				out, err := h.Command(t.Context(), "tc", strings.Fields("qdisc replace dev q0 "+q)...).CombinedOutput()
				require.NoError(t, err, "tc %s: %s", q, out)
			}
			var host hostDrops
			dropsIn(t, h, &host)
			var index int
			var refused uint64
			require.NoError(t, h.Do(func() error {
				link, err := netlink.LinkByName("q0")
				require.NoError(t, err)
				index = link.Attrs().Index
				refused, err = fillQueue([4]byte{192, 0, 2, 2}, 20)
				return err
			}))
			require.Positive(t, refused)
			require.Equal(t, refused, dropsIn(t, h, &host)[index])
		})
	}
}

// Drivers tell of the same drops by one counter, by the other, or by both.
func TestDropsSince(t *testing.T) {
	was := drops{missed: 9, fifo: 2, transmit: 1, queues: 7}
	for _, c := range []struct {
		now  drops
		grew uint64
	}{
		{was, 0},
		{drops{missed: 12, fifo: 2, transmit: 1, queues: 7}, 3},
		{drops{missed: 9, fifo: 5, transmit: 1, queues: 7}, 3},
		{drops{missed: 12, fifo: 5, transmit: 1, queues: 7}, 3},
		{drops{missed: 12, fifo: 2, transmit: 5, queues: 8}, 8},
		{drops{missed: 0, fifo: 2, transmit: 1, queues: 8}, 1}, // a reset
	} {
		require.Equal(t, c.grew, c.now.since(was), "%+v", c.now)
	}
}

// Lists that fail or are cut short: what they lack is told the next time, or not at all. No drops are made up.
func TestDropsOfListsCutShort(t *testing.T) {
	links := []netlink.Link{&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 3, Statistics: &netlink.LinkStatistics{TxDropped: 40}}}}
	qdiscs := func(drops uint32) []netlink.Qdisc {
		return []netlink.Qdisc{&netlink.GenericQdisc{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: 3, Parent: netlink.HANDLE_ROOT, Statistics: &netlink.QdiscStatistics{Queue: &netlink.GnetStatsQueue{Drops: drops}},
		}}}
	}
	var h hostDrops
	for i, c := range []struct {
		links  []netlink.Link
		qdiscs []netlink.Qdisc
		grew   uint64
	}{
		{links, qdiscs(50), 0},
		{links, nil, 0},
		{links, qdiscs(53), 3},
		{nil, qdiscs(54), 0},
		{links, qdiscs(55), 0},
		{links, qdiscs(57), 2},
	} {
		require.Equal(t, c.grew, h.take(0, c.links, c.qdiscs)[3], "sample %d", i)
	}
}

func dropsIn(t *testing.T, h *lab.Host, d *hostDrops) (g growth) {
	t.Helper()
	require.NoError(t, h.Do(func() error { g = d.sample(); return nil }))
	return g
}

func sendLLDP(link string, frames int) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	frame := append([]byte("\x01\x80\xc2\x00\x00\x0e\x02\x00\x00\x00\x00\x01\x88\xcc"), make([]byte, 50)...)
	for range frames {
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}); err != nil {
			return err
		}
	}
	return nil
}

// fillQueue sends datagrams and returns how many the queue did not take, which the kernel says where it is asked to.
func fillQueue(to [4]byte, datagrams int) (refused uint64, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1); err != nil {
		return 0, err
	}
	for range datagrams {
		err := unix.Sendto(fd, make([]byte, 1000), 0, &unix.SockaddrInet4{Addr: to, Port: 9})
		if errors.Is(err, unix.ENOBUFS) {
			refused++
		} else if err != nil {
			return 0, err
		}
	}
	return refused, nil
}
