package sink

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// down is a writer to a destination that is away.
func down() *scripted { return &scripted{always: errDown} }

func spooled(dir string) QueueOptions {
	// Simulated clocks begin in 2000.
	return QueueOptions{Spool: SpoolOptions{Path: dir, MaxAge: 100 * 365 * 24 * time.Hour}, Log: quiet()}
}

// filled leaves n batches of one line each in a spool.
func filled(t *testing.T, dir string, n int) {
	q := NewQueue(down(), spooled(dir))
	for i := range n {
		q.Enqueue(batch(fmt.Sprintf("line %d\n", i)))
		require.Eventually(t, func() bool { return q.Stats().Accepted.Batches == uint64(i+1) }, 30*time.Second, time.Millisecond)
	}
	require.Equal(t, Tally{uint64(n), uint64(n)}, q.Stats().Waiting)
	require.Zero(t, q.Stats().Unsaved)
	require.NoError(t, q.Close(t.Context()), "what is on disk is not lost")
	require.Len(t, batchFiles(t, dir), n)
}

func batchFiles(t *testing.T, dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*"+fileSuffix))
	require.NoError(t, err)
	return files
}

// drained delivers what a spool holds, and tells what came of it.
func drained(t *testing.T, dir string) (string, Stats) {
	w := &scripted{}
	q := NewQueue(w, spooled(dir))
	require.NoError(t, q.Close(t.Context()))
	require.Empty(t, batchFiles(t, dir))
	return w.got.String(), q.Stats()
}

func TestSpoolSurvivesAnEnd(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir, 3)
	got, s := drained(t, dir)
	require.Equal(t, "line 0\nline 1\nline 2\n", got)
	require.Equal(t, Stats{Recovered: Tally{3, 3}, Delivered: Tally{3, 3}}, s)
	filled(t, dir, 1) // numbers go on
	got, _ = drained(t, dir)
	require.Equal(t, "line 0\n", got)
}

// A file that was being written when the process died was never accepted; one whose
// batch was delivered and whose deletion was lost is delivered again: the same points.
func TestSpoolSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir, 2)
	first := batchFiles(t, dir)[0]
	data, err := os.ReadFile(first)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "000000000003-1-1"+fileSuffix+tmpSuffix), data[:10], 0o640))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "unknown"), nil, 0o640))
	got, s := drained(t, dir)
	require.Equal(t, "line 0\nline 1\n", got)
	require.Zero(t, s.DroppedAll())
	require.NoError(t, os.WriteFile(first, data, 0o640))
	got, _ = drained(t, dir)
	require.Equal(t, "line 0\n", got)
	left, err := filepath.Glob(filepath.Join(dir, "*"+tmpSuffix))
	require.NoError(t, err)
	require.Empty(t, left)
}

// Whatever a disk does to a file, the others are delivered; it is put aside and
// counted, unless what it says is unchanged.
func TestSpoolDamage(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir, 1)
	good, err := os.ReadFile(batchFiles(t, dir)[0])
	require.NoError(t, err)
	name := filepath.Base(batchFiles(t, dir)[0])
	require.NoError(t, os.Remove(batchFiles(t, dir)[0]))
	var u unpacker
	intact := 0
	damaged := [][]byte{nil, append(append([]byte(nil), good...), good...), append(append([]byte(nil), good...), 0)}
	for n := range good {
		damaged = append(damaged, good[:n])
		for bit := range 8 {
			flipped := append([]byte(nil), good...)
			flipped[n] ^= 1 << bit
			damaged = append(damaged, flipped)
		}
	}
	for i, body := range damaged {
		b, err := u.unpack(body, 1)
		if err == nil {
			require.Equal(t, "line 0\n", string(b.Data), "variant %d", i)
			intact++
		}
	}
	require.Less(t, intact, 64, "only what gzip's header has that says nothing of the lines")

	for _, body := range damaged[:20] {
		if _, err := u.unpack(body, 1); err == nil {
			continue
		}
		filled(t, dir, 2)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), body, 0o640))
		w := &scripted{}
		q := NewQueue(w, spooled(dir))
		require.NoError(t, q.Close(t.Context()))
		s := q.Stats()
		require.Equal(t, Tally{1, 1}, s.Dropped[DropDamaged])
		require.Equal(t, s.Recovered.Batches-1, s.Delivered.Batches)
		aside, err := os.ReadFile(filepath.Join(dir, "aside", "damaged-"+name))
		require.NoError(t, err)
		require.Equal(t, string(body), string(aside))
		require.NoError(t, os.RemoveAll(dir))
	}
}

// One process has a folder at a time. Another that is configured to has its batches
// in memory until the first has ended.
func TestSpoolHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		first, second := NewQueue(down(), spooled(dir)), NewQueue(down(), spooled(dir))
		enqueue(first, "first\n")
		enqueue(second, "second\n")
		require.Equal(t, 0, first.Stats().Unsaved)
		require.Equal(t, 1, second.Stats().Unsaved)
		require.NoError(t, first.Close(t.Context()))
		time.Sleep(spoolAgain)
		enqueue(second, "third\n")
		require.Equal(t, 0, second.Stats().Unsaved)
		require.Equal(t, Tally{3, 3}, second.Stats().Waiting)
		require.Equal(t, Tally{1, 1}, second.Stats().Recovered)
		require.NoError(t, second.Close(t.Context()))
	})
	got, _ := drained(t, dir)
	require.Equal(t, "third\nfirst\nsecond\n", got, "the newest and the oldest take turns")
}

// What is in memory because the folder was not to be had goes to disk at the end, if
// it is then.
func TestSpoolSavesAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	first, second := NewQueue(down(), spooled(dir)), NewQueue(down(), spooled(dir))
	second.Enqueue(batch("second\n"))
	require.Eventually(t, func() bool { return second.Stats().Unsaved == 1 }, 30*time.Second, time.Millisecond)
	require.NoError(t, first.Close(t.Context()))
	require.NoError(t, second.Close(t.Context()))
	require.Zero(t, second.Stats().DroppedAll())
	got, _ := drained(t, dir)
	require.Equal(t, "second\n", got)
}

// A folder that cannot be had costs the spool and nothing else.
func TestSpoolThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o640))
	w := &scripted{}
	q := NewQueue(w, spooled(file))
	q.Enqueue(batch("a\n"))
	require.NoError(t, q.Close(t.Context()))
	require.Equal(t, "a\n", w.got.String())
}

func TestSpoolCaps(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := spooled(dir)
		o.Spool.MaxBytes, o.Spool.MaxAge = 3*blockSize, time.Hour
		o.RetryMin, o.RetryMax = 24*time.Hour, 24*time.Hour // nothing is tried while this looks
		q := NewQueue(down(), o)
		for i := range 5 {
			enqueue(q, fmt.Sprintf("line %d\n", i))
			time.Sleep(20 * time.Minute)
		}
		s := q.Stats()
		require.Equal(t, Tally{2, 2}, s.Dropped[DropFull])
		require.Equal(t, Tally{3, 3}, s.Waiting)
		require.Equal(t, int64(3*blockSize), s.WaitingBytes)
		require.Equal(t, time.Hour, s.OldestAge)
		time.Sleep(time.Second)
		enqueue(q, "line 5\n")
		s = q.Stats()
		require.Equal(t, Tally{1, 1}, s.Dropped[DropAge])
		require.Equal(t, Tally{3, 3}, s.Waiting)
		require.NoError(t, q.Close(t.Context()))
	})
	got, s := drained(t, dir)
	require.Equal(t, "line 5\nline 3\nline 4\n", got)
	require.Zero(t, s.DroppedAll())
}

// What a sink that is no longer configured left is named, and ends by age.
func TestSweep(t *testing.T) {
	root := t.TempDir()
	usedName := FolderName("used")
	used, gone := filepath.Join(root, usedName), filepath.Join(root, FolderName("gone"))
	filled(t, used, 1)
	filled(t, gone, 2)
	foreign := []string{filepath.Join(root, "foreign"), filepath.Join(root, "foreign-0123456789ab")}
	for _, dir := range foreign {
		require.NoError(t, os.Mkdir(dir, 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "lock"), nil, 0o640))
	}
	require.NoError(t, os.WriteFile(filepath.Join(gone, "aside", "refused.lp"), nil, 0o640))
	left, err := Sweep(root, map[string]bool{usedName: true}, time.Hour)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "scripted", left[0].Sink)
	require.Equal(t, 2, left[0].Batches)

	owner := NewQueue(down(), spooled(gone))
	left, err = Sweep(root, map[string]bool{usedName: true}, time.Nanosecond)
	require.NoError(t, err)
	require.Empty(t, left, "another has it")
	require.NoError(t, owner.Close(t.Context()))
	require.Len(t, batchFiles(t, gone), 2)

	for range 2 { // batches first, which changes the folder; then the folder
		left, err = Sweep(root, map[string]bool{usedName: true}, time.Nanosecond)
		require.NoError(t, err)
		require.Empty(t, left)
	}
	require.NoDirExists(t, gone)
	for _, dir := range foreign {
		require.FileExists(t, filepath.Join(dir, "lock"))
	}
	require.Len(t, batchFiles(t, used), 1)
}

func TestFolderName(t *testing.T) {
	name := FolderName(`influx "http://127.0.0.1:8086" "llama" "" "" ""`)
	require.Equal(t, "influx-http-127.0.0.1-8086-llama-", name[:33])
	require.NotEqual(t, name, FolderName(`influx "http://127.0.0.1:8086" "llama_" "" "" ""`))
	for _, place := range []string{"../../etc", "", strings.Repeat("x", 1000), "a\x00/b"} {
		name := FolderName(place)
		require.Equal(t, name, filepath.Base(name))
		require.Less(t, len(name), 100)
	}
}
