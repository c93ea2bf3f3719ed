package sink

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// database takes 12 batches/s while it is up, and remembers how long each had waited.
type database struct {
	mu    sync.Mutex // protects the fields below
	up    bool
	lines int
	waits map[string]time.Duration // by the number of the window
}

func (d *database) Name() string { return "database" }
func (d *database) Close() error { return nil }

func (d *database) Write(_ context.Context, b Batch) error {
	time.Sleep(time.Second / 12)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.up {
		return errDown
	}
	d.lines += b.Lines
	end := string(b.Data[:strings.IndexByte(string(b.Data), ' ')])
	at, err := time.Parse(time.RFC3339, strings.TrimPrefix(end, "window="))
	if err != nil {
		return err
	}
	d.waits[end] = max(d.waits[end], time.Since(at))
	return nil
}

func (d *database) set(up bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.up = up
}

// An hour without a database at 5,000 lines/s: 18 million lines wait on disk, few octets
// of them in memory. When it is back, what is fresh is there within seconds, while the
// backlog is caught up: every line, each once.
func TestAnHourWithoutDatabase(t *testing.T) {
	const window, lines = 10 * time.Second, 50_000
	rest := strings.Repeat("x y=1i 123\n", 4999) // the first line of each batch says when
	synctest.Test(t, func(t *testing.T) {
		d := &database{waits: map[string]time.Duration{}}
		o := spooled(t.TempDir())
		o.Compress = true
		q := NewQueue(d, o)
		windows := 0
		measure := func(span time.Duration) {
			for range span / window {
				time.Sleep(window)
				text := strings.Repeat("window="+time.Now().Format(time.RFC3339)+" 1\n"+rest, lines/5000)
				q.Enqueue(Batch{Data: []byte(text), Lines: lines})
				windows++
				synctest.Wait()
			}
		}
		measure(time.Hour)
		s := q.Stats()
		require.Equal(t, uint64(18_000_000), s.Waiting.Lines)
		require.Zero(t, s.Unsaved)
		require.Zero(t, s.DroppedAll())
		require.InDelta(t, time.Hour, s.OldestAge, float64(window))
		require.Less(t, s.WaitingBytes, int64(1<<30), "on disk")
		require.Less(t, s.Retries, uint64(400), "about once a minute at last")
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		require.Less(t, m.HeapAlloc, uint64(32<<20), "200 MB of lines are not in memory")

		d.set(true)
		back := time.Now()
		for q.Stats().OldestAge > fresh {
			measure(time.Minute)
		}
		caughtUp := time.Since(back)
		require.Less(t, caughtUp, time.Hour)
		s = q.Stats()
		require.Equal(t, uint64(windows*lines), s.Delivered.Lines+s.Waiting.Lines)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, windows*lines, d.lines, "each once")
		for end, waited := range d.waits {
			at, err := time.Parse(time.RFC3339, strings.TrimPrefix(end, "window="))
			require.NoError(t, err)
			if at.After(back.Add(time.Minute)) { // when the retry has met it
				require.Less(t, waited, 3*window, "a fresh window, at %s", end)
			}
		}
		t.Logf("backlog caught up after %s", caughtUp)
		require.NoError(t, q.Close(t.Context()))
	})
}

// The same with room for a tenth on disk: the oldest goes, counted to the line.
func TestAnHourWithLittleRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &database{waits: map[string]time.Duration{}}
		o := spooled(t.TempDir())
		o.Spool.MaxBytes = 36 * blockSize
		q := NewQueue(d, o)
		for i := range 360 {
			time.Sleep(10 * time.Second)
			q.Enqueue(batch(fmt.Sprintf("window=%s %d\n", time.Now().Format(time.RFC3339), i)))
			synctest.Wait()
			require.LessOrEqual(t, q.Stats().WaitingBytes, o.Spool.MaxBytes)
		}
		require.Equal(t, Tally{324, 324}, q.Stats().Dropped[DropFull])
		d.set(true)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Equal(t, 36, d.lines, "the last six minutes")
		require.NoError(t, q.Close(t.Context()))
	})
}

// What an hour at 5,000 lines/s takes on disk, of lines whose figures differ as those of paths do, in batches
// of the default size: less than spool.max_size is by default.
func TestAnHourFitsOnDisk(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	around := func(us float64) (h probe.Hist) {
		for range 320 {
			h.Record(int64(us * 1e3 * math.Exp(random.NormFloat64()*0.3)))
		}
		return h
	}
	const paths = 1400 // 1 MiB
	w := window()
	for i := range paths {
		p := plainPath()
		p.Dst = fmt.Sprintf("reflector%05d", i)
		p.Counts = probe.Counts{Sent: 320, Received: 320}
		p.RTT, p.Responder, p.SendLate, p.Jitter = around(30), around(3), around(3), probe.Some(random.Float64()*2e4)
		w.Paths = append(w.Paths, p)
	}
	text, lines, err := NewEncoder(testHost, EncoderOptions{Log: quiet()}).Window(nil, w)
	require.NoError(t, err)
	require.Equal(t, paths, lines)
	require.Less(t, len(text), 1<<20)
	var p packer
	packed, err := p.pack([]Batch{{Data: text, Lines: lines}})
	require.NoError(t, err)
	each := float64(blocks(int64(len(packed)))) / paths
	hour := each * 5000 * 3600
	t.Logf("%.0f octets a line, %.2f GiB", each, hour/(1<<30))
	require.Less(t, hour, float64(1<<30))
}
