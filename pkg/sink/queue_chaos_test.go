package sink

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// moody answers as it likes, in spells of some minutes.
type moody struct {
	random *rand.Rand
	until  time.Time
	mood   int
}

func (m *moody) judge(text string) error {
	if now := time.Now(); now.After(m.until) {
		m.mood, m.until = m.random.IntN(8), now.Add(time.Duration(m.random.IntN(300))*time.Second)
	}
	switch m.mood {
	case 0:
		return errDown
	case 1:
		return &Failure{Class: ErrorBusy, Wait: 7 * time.Second, Err: errDown}
	case 2:
		return &Failure{Class: ErrorAuth, Do: Hold, Err: errDown}
	case 3:
		return &Failure{Class: ErrorHTTP4xx, Do: Refuse, Err: errDown} // of a proxy: it means no line
	case 4:
		if m.random.IntN(2) == 0 {
			return &Failure{Class: ErrorHTTP5xx, Err: errDown}
		}
	}
	if strings.Contains(text, "bad") {
		return &Failure{Class: ErrorHTTP4xx, Do: Refuse, Sure: true, Err: errDown}
	}
	return nil
}

// Whatever a server answers, and however often the agent ends and begins: each good line
// reaches it, each bad one is put aside, and the counters add up.
func TestQueueChaos(t *testing.T) {
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 0))
		dir := t.TempDir()
		w := &judging{}
		want, bad := map[string]bool{}, 0
		synctest.Test(t, func(t *testing.T) {
			m := &moody{random: rand.New(rand.NewPCG(seed, 1))}
			w.judge = m.judge
			n := 0
			for range 5 { // lives of the agent
				o := spooled(dir)
				o.BatchLines, o.BatchAge = 20, time.Second
				q := NewQueue(w, o)
				for range random.IntN(100) {
					var text strings.Builder
					for range 1 + random.IntN(50) {
						line := fmt.Sprintf("line %d\n", n)
						if random.IntN(50) == 0 {
							line = fmt.Sprintf("bad %d\n", n)
							bad++
						} else {
							want[line] = true
						}
						text.WriteString(line)
						n++
					}
					q.Enqueue(batch(text.String()))
					time.Sleep(time.Duration(random.IntN(20)) * time.Second)
				}
				require.NoError(t, q.Close(t.Context()))
				s := q.Stats()
				require.Zero(t, s.DroppedAll(), "seed %d", seed)
				require.Equal(t, s.Accepted.Batches+s.Recovered.Batches, s.Delivered.Batches+s.Waiting.Batches, "seed %d", seed)
				require.Equal(t, s.Accepted.Lines+s.Recovered.Lines, s.Delivered.Lines+s.Refused+s.Waiting.Lines, "seed %d", seed)
			}
			m.mood, m.until = 7, time.Now().Add(24*time.Hour) // all is well at last
			q := NewQueue(w, spooled(dir))
			time.Sleep(time.Hour)
			synctest.Wait()
			require.Zero(t, q.Stats().Waiting, "seed %d", seed)
			require.NoError(t, q.Close(t.Context()))
		})
		for _, line := range w.lines() {
			delete(want, line)
		}
		require.Zero(t, len(want), "lines lost with seed %d", seed)
		aside, _ := os.ReadFile(filepath.Join(dir, "aside", "refused.lp")) // not there if there is no bad line
		require.Equal(t, bad, strings.Count(string(aside), "bad "), "seed %d", seed)
	}
}
