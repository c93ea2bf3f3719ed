package sink

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// smallDisk is a file system of some octets.
func smallDisk(t *testing.T, size int) string {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		if os.Getenv("LLAMA_TEST_NOSKIP") != "" {
			t.Fatalf("mount a tmpfs: %v", err)
		}
		t.Skipf("mount a tmpfs, which takes root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// noise does not compress below a block.
func noise(i int) string {
	text := fmt.Sprintf("%d ", i)
	for range 3000 {
		text += string(rune('a' + rand.IntN(26)))
	}
	return text + "\n"
}

// A full disk: what does not fit waits in memory, and goes to disk once it fits; where
// memory is full too the oldest goes, a few for each new one, never all.
func TestSpoolFullDisk(t *testing.T) {
	disk := smallDisk(t, 64<<10)
	dir := filepath.Join(disk, "spool")
	w := &scripted{always: errDown}
	o := spooled(dir)
	o.Compress, o.MaxBatches, o.RetryMin, o.RetryMax = true, 4, time.Hour, time.Hour
	q := NewQueue(w, o)
	accept := func(i int) Stats {
		before := q.Stats().Accepted.Batches
		q.Enqueue(batch(noise(i)))
		var s Stats
		require.Eventually(t, func() bool {
			s = q.Stats()
			return s.Accepted.Batches > before && s.Unsaved <= o.MaxBatches
		}, 30*time.Second, time.Millisecond)
		return s
	}
	i := 0
	for s := (Stats{}); s.Unsaved < 3; i++ {
		s = accept(i)
		require.Zero(t, s.DroppedAll())
		require.Equal(t, uint64(i+1), s.Waiting.Batches)
	}
	require.Greater(t, i, 8)
	for q.Stats().DroppedAll().Batches == 0 { // memory fills up too
		accept(i)
		i++
	}
	s := q.Stats()
	require.LessOrEqual(t, s.Dropped[DropFull].Batches, uint64(maxTrade))
	require.Equal(t, uint64(i), s.Waiting.Batches+s.Dropped[DropFull].Batches)
	require.LessOrEqual(t, s.Unsaved, 4)

	require.NoError(t, syscall.Mount("", disk, "", syscall.MS_REMOUNT, "size=1m"))
	s = accept(i)
	i++
	require.Zero(t, s.Unsaved, "there is room again")
	require.Equal(t, uint64(i), s.Waiting.Batches+s.Dropped[DropFull].Batches)
	require.NoError(t, q.Close(t.Context()))

	got, after := drained(t, dir)
	require.Equal(t, s.Waiting, after.Delivered)
	require.Zero(t, after.DroppedAll())
	for n := range i {
		require.Equal(t, n >= int(s.Dropped[DropFull].Batches), strings.Contains(got, fmt.Sprintf("\n%d ", n)) || strings.HasPrefix(got, fmt.Sprintf("%d ", n)), "batch %d", n)
	}
}

// A disk that is full when the process starts: what is there is delivered, and so is
// what comes.
func TestSpoolFullFromTheStart(t *testing.T) {
	disk := smallDisk(t, 64<<10)
	dir := filepath.Join(disk, "spool")
	filled(t, dir, 2)
	require.Error(t, os.WriteFile(filepath.Join(disk, "other"), make([]byte, 1<<20), 0o640), "another program takes the rest")
	w := &scripted{}
	q := NewQueue(w, spooled(dir))
	require.Eventually(t, func() bool { return q.Stats().Waiting.Batches == 0 }, 30*time.Second, time.Millisecond)
	q.Enqueue(batch("new\n"))
	require.NoError(t, q.Close(t.Context()))
	require.Equal(t, "line 0\nline 1\nnew\n", w.got.String())
	require.Zero(t, q.Stats().DroppedAll())
}
