package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// scripted answers each write with the next of its errors, then takes everything.
type scripted struct {
	mu     sync.Mutex // protects the fields below
	errs   []error
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
	s.got.Write(b.Data)
	return nil
}

func batch(text string) Batch { return split([]byte(text), batchBytes)[0] }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

var errDown = errors.New("connection refused")

func TestQueueRetriesWithBackoffThenDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &scripted{errs: []error{errDown, errDown, errDown, &retryAfter{errDown, 90 * time.Second}, &retryAfter{errDown, time.Hour}}}
		q := NewQueue(w, QueueOptions{RetryMin: time.Second, RetryMax: 30 * time.Second, Log: quiet()})
		q.Enqueue(batch("a\nb\n"))
		q.Enqueue(batch("c\n"))
		synctest.Wait()
		require.Equal(t, uint64(2), q.Stats().Waiting.Batches)
		require.Equal(t, uint64(3), q.Stats().Waiting.Lines)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Equal(t, "a\nb\nc\n", w.got.String())
		require.Equal(t, Stats{Accepted: Tally{2, 3}, Delivered: Tally{2, 3}, Retries: 5}, q.Stats())
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
		q.Enqueue(batch("0\n"))
		synctest.Wait() // 0 is under way
		for i := 1; i <= 4; i++ {
			q.Enqueue(batch(fmt.Sprintf("%d\n%d\n", i, i)))
		}
		s := q.Stats()
		require.Equal(t, Tally{2, 4}, s.Dropped[DropFull])
		require.Equal(t, Tally{3, 5}, s.Waiting)
		require.Equal(t, int64(10), s.WaitingBytes)
		close(w.block)
		synctest.Wait()
		require.Equal(t, "0\n3\n3\n4\n4\n", w.got.String())
		require.NoError(t, q.Close(t.Context()))

		q = NewQueue(&scripted{block: make(chan struct{})}, QueueOptions{MaxBytes: 5, Log: quiet()})
		q.Enqueue(batch("0\n"))
		synctest.Wait()
		q.Enqueue(batch("too long\n"))
		q.Enqueue(batch("1\n"))
		q.Enqueue(batch("2\n"))
		q.Enqueue(batch("3\n"))
		s = q.Stats()
		require.Equal(t, Tally{2, 2}, s.Dropped[DropFull])
		require.Equal(t, Tally{3, 3}, s.Waiting)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorContains(t, q.Close(ctx), "3 batches (3 lines) not delivered")
		s = q.Stats()
		require.Equal(t, Tally{5, 5}, s.DroppedAll())
	})
}

// A batch on which the server fails every time gives way once the queue is full.
func TestQueuePoisonGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &scripted{}
		for range 1000 {
			w.errs = append(w.errs, errDown)
		}
		q := NewQueue(w, QueueOptions{MaxBatches: 1, RetryMax: time.Second, Log: quiet()})
		q.Enqueue(batch("poison\n"))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Zero(t, q.Stats().Dropped[DropFull])
		q.Enqueue(batch("next\n"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, Tally{1, 1}, q.Stats().Dropped[DropFull])
		w.mu.Lock()
		w.errs = nil
		w.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, "next\n", w.got.String())
		require.NoError(t, q.Close(t.Context()))
	})
}

func TestQueueRefusedIsNotRetriedAndLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		refusal := fmt.Errorf("%w: no", ErrRefused)
		w := &scripted{errs: []error{refusal, refusal, nil}}
		q := NewQueue(w, QueueOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
		for range 3 {
			q.Enqueue(batch("a\n"))
		}
		synctest.Wait()
		require.Equal(t, Stats{Accepted: Tally{3, 3}, Delivered: Tally{3, 1}, Refused: 2}, q.Stats())
		require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("batch refused")))
		require.NoError(t, q.Close(t.Context()))
		q.Enqueue(batch("late\n"))
		require.Equal(t, Tally{1, 1}, q.Stats().Dropped[DropStopped], "a closed queue takes nothing")
	})
}

// Close does not wait out a long back-off, and gives up at its deadline.
func TestQueueCloseFlushesWithinItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &scripted{errs: []error{&retryAfter{errDown, time.Hour}, errDown}}
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
	for _, b := range split(text, 7) {
		require.True(t, bytes.HasSuffix(b.Data, []byte("\n")))
		joined = append(joined, b.Data...)
		sizes = append(sizes, b.Lines)
	}
	require.Equal(t, text, joined)
	require.Equal(t, []int{2, 1, 1}, sizes)
	require.Empty(t, split(nil, 7))
}
