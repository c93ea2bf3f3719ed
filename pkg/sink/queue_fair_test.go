package sink

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// judging answers each batch as judge says, and takes what it does not mind.
type judging struct {
	judge func(text string) error

	mu    sync.Mutex // protects the fields below
	tries int
	got   []string // batches
}

func (j *judging) Name() string { return "judging" }
func (j *judging) Close() error { return nil }

func (j *judging) Write(_ context.Context, b Batch) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tries++
	if err := j.judge(string(b.Data)); err != nil {
		return err
	}
	j.got = append(j.got, string(b.Data))
	return nil
}

func (j *judging) lines() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.SplitAfter(strings.Join(j.got, ""), "\n")
}

// A batch on which the server fails every time holds up no other, and is put aside;
// ones that failed with all others are not.
func TestQueuePoison(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		w := &judging{judge: func(text string) error {
			if !up.Load() || strings.Contains(text, "poison") {
				return &Failure{Class: ErrorHTTP5xx, Err: errDown}
			}
			return nil
		}}
		q := NewQueue(w, spooled(dir))
		for i := range 20 {
			enqueue(q, fmt.Sprintf("before %d\n", i))
		}
		enqueue(q, "poison 1\n")
		enqueue(q, "poison 2\n")
		time.Sleep(time.Hour)
		up.Store(true)
		for i := range 60 {
			time.Sleep(10 * time.Second)
			enqueue(q, fmt.Sprintf("after %d\n", i))
			if i == 12 {
				require.Len(t, w.lines(), 20+13+1, "all others have arrived")
			}
		}
		s := q.Stats()
		require.Equal(t, Tally{2, 2}, s.Dropped[DropPoison])
		require.Equal(t, Tally{80, 80}, s.Delivered)
		require.Zero(t, s.Waiting)
		require.NoError(t, q.Close(t.Context()))
	})
	aside, err := filepath.Glob(filepath.Join(dir, "aside", "poison-*"))
	require.NoError(t, err)
	require.Len(t, aside, 2)
	// Moved back it is tried again.
	require.NoError(t, os.Rename(aside[0], filepath.Join(dir, strings.TrimPrefix(filepath.Base(aside[0]), "poison-"))))
	got, _ := drained(t, dir)
	require.Contains(t, got, "poison")
}

// A server that fails now and then loses no batch, however often it does.
func TestQueueFlappingServerPoisonsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := &judging{judge: func(string) error {
			if n++; n%3 != 0 { // two failures for each success
				return &Failure{Class: ErrorHTTP5xx, Err: errDown}
			}
			return nil
		}}
		q := NewQueue(w, QueueOptions{Log: quiet()})
		for i := range 200 {
			enqueue(q, fmt.Sprintf("%d\n", i))
			time.Sleep(10 * time.Second)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, Tally{200, 200}, q.Stats().Delivered)
		require.NoError(t, q.Close(t.Context()))
	})
}

// What is refused by its lines is told apart; what is refused as a whole is kept.
func TestQueueSiftsLines(t *testing.T) {
	for name, c := range map[string]struct {
		sure bool
		name bool // the lines that are wrong
	}{"named": {true, true}, "partial write": {true, false}, "no words": {false, false}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				w := &judging{}
				w.judge = func(text string) error {
					if !strings.Contains(text, "bad") {
						return nil
					}
					f := &Failure{Class: ErrorHTTP4xx, Do: Refuse, Sure: c.sure, Err: fmt.Errorf("bad\x1b line")}
					for i, line := range strings.Split(text, "\n") {
						if c.name && strings.Contains(line, "bad") {
							f.Bad = append(f.Bad, BadLine{i, "no\ngood"})
						}
					}
					return f
				}
				q := NewQueue(w, spooled(dir))
				var text strings.Builder
				for i := range 1000 {
					fmt.Fprintf(&text, "line %d\n", i)
					if i%400 == 100 {
						fmt.Fprintf(&text, "bad %d\n", i)
					}
				}
				enqueue(q, text.String())
				s := q.Stats()
				require.Equal(t, Tally{1, 1000}, s.Delivered)
				require.Equal(t, uint64(3), s.Refused)
				seen := map[string]bool{}
				for _, line := range w.lines() {
					seen[line] = true
				}
				require.Len(t, seen, 1001, "with the empty one behind the last")
				require.LessOrEqual(t, w.tries, 80)
				require.NoError(t, q.Close(t.Context()))
			})
			aside, err := os.ReadFile(filepath.Join(dir, "aside", "refused.lp"))
			require.NoError(t, err)
			rows := strings.Split(strings.TrimSpace(string(aside)), "\n")
			require.Len(t, rows, 4, "one reason, three lines")
			require.Regexp(t, `^# 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ: (bad line|no good)$`, rows[0])
			require.Equal(t, []string{"bad 100", "bad 500", "bad 900"}, rows[1:])
		})
	}
}

// A 400 to everything that says nothing of lines is no reason to give up lines.
func TestQueueRefusedForAnotherReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		w := &judging{judge: func(string) error {
			if mended.Load() {
				return nil
			}
			return &Failure{Class: ErrorHTTP4xx, Do: Refuse, Err: errDown}
		}}
		q := NewQueue(w, QueueOptions{Log: quiet()})
		enqueue(q, strings.Repeat("line\n", 3000))
		enqueue(q, "line\n")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Equal(t, Tally{2, 3001}, q.Stats().Waiting)
		mended.Store(true)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Equal(t, Tally{2, 3001}, q.Stats().Delivered)
		require.NoError(t, q.Close(t.Context()))
	})
}

// What somebody has to mend is held, said once and not every minute; a new writer is
// tried at once.
func TestQueueHoldsAndReplaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		w := &scripted{always: &Failure{Class: ErrorAuth, Do: Hold, Err: fmt.Errorf("server answered 401; check the token")}}
		o := QueueOptions{Log: textLog(&log)}
		q := NewQueue(w, o)
		for i := range 300 {
			enqueue(q, fmt.Sprintf("%d\n", i))
			time.Sleep(10 * time.Second)
		}
		require.Equal(t, Tally{300, 300}, q.Stats().Waiting)
		require.Less(t, len(w.at), 110, "about once a minute")
		require.Equal(t, 2, strings.Count(log.String(), "check the token"), "50 minutes, a line each half hour")
		next := &scripted{}
		q.Replace(next, o)
		synctest.Wait()
		require.True(t, w.closed)
		require.Equal(t, Tally{300, 300}, q.Stats().Delivered)
		require.Contains(t, log.String(), "delivering again")
		require.NoError(t, q.Close(t.Context()))
	})
}
