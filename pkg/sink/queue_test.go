package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// scripted answers each write with the next of its errors, then takes everything.
type scripted struct {
	mu     sync.Mutex // protects the fields below
	errs   []error
	always error // of every write after these; nil: it takes it
	got    bytes.Buffer
	at     []time.Time
	closed bool
	block  chan struct{} // if set, a write waits for it or its context
}

func (s *scripted) Name() string { return "scripted" }
func (s *scripted) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *scripted) Write(ctx context.Context, b Batch) error {
	if s.block != nil {
		select {
		case <-s.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Now())
	if len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		if err != nil {
			return err
		}
	}
	if s.always != nil {
		return s.always
	}
	s.got.Write(b.Data)
	return nil
}

func batch(text string) Batch {
	b := split([]byte(text), len(text), len(text))[0]
	b.ID = batches.Add(1)
	return b
}

var batches atomic.Uint64

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

var errDown = errors.New("connection refused")

func TestQueueRetriesWithBackoffThenDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &scripted{errs: []error{errDown, errDown, errDown, &Failure{Err: errDown, Wait: 90 * time.Second}, &Failure{Err: errDown, Wait: time.Hour}}}
		q := NewQueue(w, QueueOptions{Ordered: true, RetryMin: time.Second, RetryMax: 30 * time.Second, Log: quiet()})
		q.Enqueue(batch("a\nb\n"))
		synctest.Wait()
		q.Enqueue(batch("c\n"))
		synctest.Wait()
		require.Equal(t, uint64(2), q.Stats().Waiting.Batches)
		require.Equal(t, uint64(3), q.Stats().Waiting.Lines)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Equal(t, "a\nb\nc\n", w.got.String())
		require.Equal(t, Stats{Accepted: Tally{2, 3}, Delivered: Tally{2, 3}, Retries: 5, Errors: [ErrorClasses]uint64{ErrorNetwork: 5}}, q.Stats())
		for i, limit := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			gap := w.at[i+1].Sub(w.at[i])
			require.LessOrEqual(t, gap, limit)
			require.GreaterOrEqual(t, gap, limit/2-1)
		}
		require.Equal(t, 90*time.Second, w.at[4].Sub(w.at[3]), "what the server asked for")
		require.Equal(t, 150*time.Second, w.at[5].Sub(w.at[4]), "within bounds")
		require.NoError(t, q.Close(t.Context()))
		require.True(t, w.closed)
	})
}

func TestQueueDropsOldestAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &scripted{block: make(chan struct{})}
		q := NewQueue(w, QueueOptions{MaxBatches: 2, Log: quiet()})
		enqueue(q, "0\n") // it is under way, and counts
		for i := 1; i <= 4; i++ {
			enqueue(q, fmt.Sprintf("%d\n%d\n", i, i))
		}
		s := q.Stats()
		require.Equal(t, Tally{5, 9}, s.Accepted)
		require.Equal(t, Tally{3, 6}, s.Dropped[DropFull])
		require.Equal(t, Tally{2, 3}, s.Waiting)
		require.Equal(t, int64(6), s.WaitingBytes)
		close(w.block)
		synctest.Wait()
		require.Equal(t, "0\n4\n4\n", w.got.String())
		require.NoError(t, q.Close(t.Context()))

		q = NewQueue(&scripted{block: make(chan struct{})}, QueueOptions{MaxBytes: 7, Log: quiet()})
		for _, text := range []string{"0\n", "1\n", "2\n", "3\n"} {
			enqueue(q, text)
		}
		s = q.Stats()
		require.Equal(t, Tally{1, 1}, s.Dropped[DropFull])
		require.Equal(t, Tally{3, 3}, s.Waiting)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorContains(t, q.Close(ctx), "3 batches (3 lines) not delivered")
		s = q.Stats()
		require.Equal(t, Tally{4, 4}, s.DroppedAll())
		require.Zero(t, s.Waiting)
	})
}

// enqueue waits until the text is a batch of its own.
func enqueue(q *Queue, text string) {
	q.Enqueue(batch(text))
	synctest.Wait()
}

// What waits is joined and cut, by lines, octets and age.
func TestQueueCutsBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &scripted{}
		q := NewQueue(w, QueueOptions{BatchLines: 3, BatchBytes: 10, BatchAge: time.Second, Log: quiet()})
		enqueue(q, "a\n")
		enqueue(q, "b\n")
		require.Zero(t, q.Stats().Accepted, "they wait for more")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, Tally{1, 2}, q.Stats().Delivered)
		enqueue(q, "1\n2\n3\n4\n")
		require.Equal(t, Tally{2, 5}, q.Stats().Delivered, "three lines are enough")
		enqueue(q, "eight...\n")
		require.Equal(t, Tally{3, 6}, q.Stats().Delivered, "4 has waited long enough: there is no room for more beside it")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, "a\nb\n1\n2\n3\n4\neight...\n", w.got.String())
		require.NoError(t, q.Close(t.Context()))
	})
}

// A disk that keeps nobody waiting but itself: what it has no time for is bounded, and
// was never accepted.
func TestQueueIntakeIsBounded(t *testing.T) {
	var in intake
	var s Stats
	o := QueueOptions{MaxBatches: 3, MaxBytes: 10}
	require.Zero(t, in.add([]Batch{batch("1\n"), batch("2\n"), batch("3\n")}, &o, &s))
	require.Equal(t, 1, in.add([]Batch{batch("4\n4\n")}, &o, &s))
	require.Equal(t, 2, in.add([]Batch{batch("55555\n")}, &o, &s))
	require.Equal(t, Tally{3, 3}, s.Dropped[DropIntake])
	o.BatchLines, o.BatchBytes = 10, 100
	parts := in.take(&o)
	require.Len(t, parts, 2)
	require.Equal(t, "4\n4\n", string(parts[0].Data))
	require.Zero(t, in.bytes)
}

// Pushes begin a delay after their batches; an end does not wait for it.
func TestQueueDelaysPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &scripted{}
		q := NewQueue(w, QueueOptions{Delay: 3 * time.Second, Log: quiet()})
		begin := time.Now()
		enqueue(q, "a\n")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, []time.Time{begin.Add(3 * time.Second)}, w.at)
		enqueue(q, "b\n")
		require.NoError(t, q.Close(t.Context()))
		require.Equal(t, "a\nb\n", w.got.String())
		require.Equal(t, 10*time.Second, time.Since(begin))
	})
}

// Close does not wait out a long back-off, and gives up at its deadline.
func TestQueueCloseFlushesWithinItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &scripted{errs: []error{&Failure{Err: errDown, Wait: time.Hour}, errDown}}
		q := NewQueue(w, QueueOptions{RetryMax: time.Hour, Log: quiet()})
		q.Enqueue(batch("a\n"))
		q.Enqueue(batch("b\n"))
		synctest.Wait()
		begin := time.Now()
		require.NoError(t, q.Close(t.Context()))
		require.Less(t, time.Since(begin), time.Second)
		require.Equal(t, "a\nb\n", w.got.String())

		w = &scripted{}
		for range 10_000 {
			w.errs = append(w.errs, errDown)
		}
		q = NewQueue(w, QueueOptions{Log: quiet()})
		q.Enqueue(batch("a\n"))
		begin = time.Now()
		require.Error(t, q.Close(t.Context()))
		require.InDelta(t, closeDefault, time.Since(begin), float64(closeGrace))
		require.Equal(t, Tally{1, 1}, q.Stats().Dropped[DropStopped])
	})
}

func TestSplit(t *testing.T) {
	text := []byte("aa\nbb\ncccccccc\nd\n")
	var joined []byte
	var sizes []int
	for _, b := range split(text, 7, 100) {
		require.True(t, bytes.HasSuffix(b.Data, []byte("\n")))
		joined = append(joined, b.Data...)
		sizes = append(sizes, b.Lines)
	}
	require.Equal(t, text, joined)
	require.Equal(t, []int{2, 1, 1}, sizes)
	require.Empty(t, split(nil, 7, 1))
	require.Len(t, split(text, 100, 1), 4)
	require.Len(t, split(text, 100, 3), 2)
	require.Len(t, split([]byte("a\nno end"), 100, 1), 2)
}

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu  sync.Mutex // protects the field below
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
