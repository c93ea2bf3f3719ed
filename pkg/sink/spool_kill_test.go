package sink

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// spoolUntilKilled accepts numbered lines, says which ones are, and delivers to a
// file.
func spoolUntilKilled(dir, from string) {
	next, err := strconv.Atoi(from)
	if err != nil {
		panic(err)
	}
	w, err := NewFile(dir + "/delivered")
	if err != nil {
		panic(err)
	}
	o := spooled(dir + "/spool")
	o.Spool.Sync = true
	q := NewQueue(w, o)
	for accepted, given := uint64(0), uint64(0); ; {
		if given < accepted+60 { // the intake has its bounds
			q.Enqueue(batch(fmt.Sprintf("%d\n%d\n%d\n", next, next+1, next+2)))
			next, given = next+3, given+3
		}
		if now := q.Stats().Accepted.Lines; now > accepted {
			accepted = now
			fmt.Println(accepted)
		}
	}
}

// A process that is killed at any moment, ten times, loses no line that it had
// accepted; those that it had delivered may come again.
func TestSpoolKill(t *testing.T) {
	dir := t.TempDir()
	accepted := map[int]bool{}
	for round := range 10 {
		first := round * 100_000_000
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "LLAMA_TEST_SPOOL="+dir, fmt.Sprintf("LLAMA_TEST_FROM=%d", first))
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		said := bufio.NewScanner(out)
		n := 0
		after := 1 + rand.IntN(20)
		for said.Scan() {
			if n, err = strconv.Atoi(said.Text()); err != nil {
				n = 0 // cut by the kill
				break
			}
			for i := range n {
				accepted[first+i] = true
			}
			if after--; after == 0 {
				time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { _ = child.Process.Kill() })
			}
		}
		require.Error(t, child.Wait(), "it was killed")
	}
	w, err := NewFile(dir + "/delivered")
	require.NoError(t, err)
	q := NewQueue(w, spooled(dir+"/spool"))
	require.Eventually(t, func() bool { return q.Stats().Waiting.Batches == 0 }, 60*time.Second, 5*time.Millisecond)
	require.NoError(t, q.Close(t.Context()))
	require.Zero(t, q.Stats().DroppedAll(), "no file was torn")
	data, err := os.ReadFile(dir + "/delivered")
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		n, err := strconv.Atoi(strings.TrimSpace(line))
		if err == nil { // else the kill has cut it in the file, and it came again
			delete(accepted, n)
		}
	}
	require.Zero(t, len(accepted), "lines lost")
}
