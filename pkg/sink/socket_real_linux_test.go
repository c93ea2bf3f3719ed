package sink

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/servers"
)

// numbered is n lines whose text nobody else writes.
func numbered(from, n int) Batch {
	var b strings.Builder
	for i := from; i < from+n; i++ {
		fmt.Fprintf(&b, "llama_path,path=%d,src=a lost=%di,sent=10i %d\n", i, i%7, testEnd.UnixNano()+int64(i))
	}
	return batch(b.String())
}

func linesOf(b ...Batch) (all []string) {
	for _, x := range b {
		all = append(all, strings.Split(strings.TrimSuffix(string(x.Data), "\n"), "\n")...)
	}
	slices.Sort(all)
	return all
}

// listening starts Telegraf with a socket_listener.
func listening(t *testing.T, address string) *servers.Telegraf {
	return servers.NewTelegraf(t, nil, fmt.Sprintf("[[inputs.socket_listener]]\nservice_address = %q\ndata_format = \"influx\"\n", address), "Listening on")
}

func socketQueue(t *testing.T, cfg SocketConfig) *Queue {
	w, err := NewSocket(cfg)
	require.NoError(t, err)
	return NewQueue(w, QueueOptions{Ordered: true, RetryMin: 20 * time.Millisecond, RetryMax: 200 * time.Millisecond, Log: quiet()})
}

// arrived waits until Telegraf has written all of these lines, each as often as it stands there, and no others.
func arrived(t *testing.T, g *servers.Telegraf, want []string) {
	t.Helper()
	require.Eventually(t, func() bool { return len(g.Lines()) >= len(want) }, 30*time.Second, 20*time.Millisecond)
	got := g.Lines()
	slices.Sort(got)
	require.Equal(t, want, got)
}

// TestSocketRealTelegraf: whatever the socket, lines arrive whole, each once; a listener that is away or frozen gets
// them when it is back.
func TestSocketRealTelegraf(t *testing.T) {
	for _, network := range []string{"tcp", "udp", "unix", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			address := network + "://" + freeAddr(t, network)
			if strings.HasPrefix(network, "unix") {
				address = network + "://" + t.TempDir() + "/s"
			}
			q := socketQueue(t, SocketConfig{Address: address, Timeout: time.Second, Datagram: 600})
			first, second, third := numbered(0, 100), numbered(100, 500), numbered(600, 50)
			q.Enqueue(first) // nobody listens yet
			require.Eventually(t, func() bool { return q.Stats().Retries >= 2 }, 30*time.Second, 5*time.Millisecond)
			g := listening(t, address)
			arrived(t, g, linesOf(first))
			g.Freeze()
			q.Enqueue(second)
			g.Thaw()
			arrived(t, g, linesOf(first, second))
			g.Stop()
			g.Start()
			q.Enqueue(third)
			arrived(t, g, linesOf(first, second, third))
			require.NoError(t, q.Close(t.Context()))
			require.Equal(t, Tally{3, 650}, q.Stats().Delivered)
		})
	}
}

func freeAddr(t *testing.T, network string) string {
	if strings.HasPrefix(network, "unix") {
		return ""
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// TestSocketTakesNoMore: a listener that reads nothing holds up the one queue, which is bounded. When it reads at
// last every line is whole.
func TestSocketTakesNoMore(t *testing.T) {
	g := listening(t, "tcp://%s")
	q := NewQueue(must(NewSocket(SocketConfig{Address: "tcp://" + g.Addr, Timeout: 50 * time.Millisecond})),
		QueueOptions{Ordered: true, MaxBatches: 4, BatchLines: 20_000, BatchBytes: 4 << 20, RetryMin: 5 * time.Millisecond, RetryMax: 20 * time.Millisecond, Log: quiet()})
	other := NewQueue(must(NewFile(t.TempDir()+"/lines")), QueueOptions{BatchLines: 20_000, BatchBytes: 4 << 20, Log: quiet()})
	first := numbered(0, 10)
	q.Enqueue(first)
	arrived(t, g, linesOf(first))
	g.Freeze()
	most := 0
	for i := 0; q.Stats().Dropped[DropFull].Batches == 0; i++ {
		b := numbered(10+20_000*i, 20_000) // more than a megabyte
		q.Enqueue(b)
		other.Enqueue(b)
		require.Eventually(t, func() bool { return other.Stats().Delivered.Batches == uint64(i+1) }, 30*time.Second, time.Millisecond)
		most = max(most, int(q.Stats().Waiting.Batches))
	}
	require.LessOrEqual(t, most, 5)
	g.Thaw()
	last := numbered(1_000_000_000, 1)
	q.Enqueue(last)
	require.Eventually(t, func() bool { l := g.Lines(); return l[len(l)-1] == linesOf(last)[0] }, 60*time.Second, 50*time.Millisecond)
	got := g.Lines()
	for _, x := range got {
		var i int64
		_, err := fmt.Sscanf(x, "llama_path,path=%d,", &i)
		require.NoError(t, err)
		require.Equal(t, linesOf(numbered(int(i), 1))[0], x)
	}
	slices.Sort(got)
	require.Equal(t, len(got), len(slices.Compact(got)), "a line came twice")
	require.NoError(t, q.Close(t.Context()))
	require.NoError(t, other.Close(t.Context()))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
