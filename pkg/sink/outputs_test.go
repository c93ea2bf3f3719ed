package sink

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stuttering takes a few octets, fails, and takes the rest.
type stuttering struct {
	bytes.Buffer
	fail int
}

func (s *stuttering) Write(p []byte) (int, error) {
	if s.fail > 0 {
		s.fail--
		n, _ := s.Buffer.Write(p[:min(3, len(p))])
		return n, errors.New("stuttered")
	}
	return s.Buffer.Write(p)
}

func TestStreamGoesOnWhereItStopped(t *testing.T) {
	out := &stuttering{fail: 2}
	s := NewStream("standard output", out)
	first, second := batch("first line\n"), batch("second line\n")
	require.ErrorContains(t, s.Write(t.Context(), first), "write to standard output")
	require.Error(t, s.Write(t.Context(), first))
	require.NoError(t, s.Write(t.Context(), first))
	require.NoError(t, s.Write(t.Context(), second))
	require.Equal(t, "first line\nsecond line\n", out.String())

	// A batch given up half-way still ends its line.
	out.Reset()
	out.fail = 1
	require.Error(t, s.Write(t.Context(), first))
	require.NoError(t, s.Write(t.Context(), second))
	require.Equal(t, "first line\nsecond line\n", out.String())
}

func TestFileAppendsAndReopens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.lp")
	require.NoError(t, os.WriteFile(path, []byte("whole\ntorn"), 0o640))
	w, err := NewFile(path)
	require.NoError(t, err)
	require.NoError(t, w.Write(t.Context(), batch("a\n")))
	require.NoError(t, os.Rename(path, path+".1"))
	require.NoError(t, w.Write(t.Context(), batch("b\n")))
	require.NoError(t, w.Reopen())
	require.NoError(t, w.Write(t.Context(), batch("c\n")))
	require.NoError(t, os.Rename(path, path+".2"))
	require.NoError(t, os.Mkdir(path, 0o750))
	require.Error(t, w.Reopen(), "there is a folder now")
	require.NoError(t, w.Write(t.Context(), batch("d\n")), "the file at hand stays in use")
	require.NoError(t, w.Close())
	for name, want := range map[string]string{".1": "whole\ntorn\na\nb\n", ".2": "c\nd\n"} {
		got, err := os.ReadFile(path + name)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

func TestFileTakesHalfALineBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.lp")
	w, err := NewFile(path)
	require.NoError(t, err)
	require.NoError(t, w.Write(t.Context(), batch("whole\n")))

	// A limit on the size of files stands in for a full disk.
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 10, Max: old.Max}))
	err = w.Write(t.Context(), batch("does not fit\n"))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
	require.ErrorContains(t, err, "append to "+path)
	require.NoError(t, w.Write(t.Context(), batch("again\n")))
	require.NoError(t, w.Close())
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "whole\nagain\n", string(got))
}

func TestFileRefusesPipes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err := NewFile(path)
	require.ErrorContains(t, err, "neither a file nor a device")
}

// TryFile says what NewFile would, and leaves all as it is.
func TestTryFile(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	require.NoError(t, os.WriteFile(there, []byte("cut sho"), 0o600))
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for path, can := range map[string]bool{
		there: true, filepath.Join(dir, "new"): true,
		pipe: false, dir: false, filepath.Join(dir, "no/new"): false, filepath.Join(there, "new"): false,
	} {
		before, _ := os.ReadFile(there)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		tried := TryFile(path)
		require.Equal(t, can, tried == nil, "%s: %v", path, tried)
		after, _ := os.ReadFile(there)
		require.Equal(t, before, after)
		now, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, now, len(entries))
		f, err := NewFile(path)
		require.Equal(t, can, err == nil, "%s: %v", path, err)
		if err == nil {
			require.NoError(t, f.Close())
		}
	}
}

// An output that never comes back harms neither the other nor the caller.
func TestFanoutOneBadOutputHarmsNoOther(t *testing.T) {
	stuck := &scripted{block: make(chan struct{})}
	var good bytes.Buffer
	f := NewFanout(NewEncoder(testHost, EncoderOptions{Log: quiet()}),
		NewQueue(stuck, QueueOptions{MaxBatches: 2, Log: quiet()}),
		NewQueue(NewStream("good", &good), QueueOptions{Log: quiet()}))
	broken := plainPath()
	broken.Lost++
	begin := time.Now()
	for range 20 {
		require.ErrorContains(t, f.Window(window(plainPath(), broken)), "1 lines withheld")
	}
	require.NoError(t, f.Agent(&AgentStats{Time: testEnd, Fields: f.Encoder().Stats().Fields()}))
	require.Less(t, time.Since(begin), 5*time.Second, "no call waited for the stuck output")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.NoError(t, f.Reopen())
	require.ErrorContains(t, f.Close(ctx), "close sink scripted")
	require.Equal(t, uint64(21), f.Outputs()[1].Stats().Delivered.Lines)
	stats := f.Outputs()[0].Stats()
	require.Equal(t, uint64(21), stats.DroppedAll().Lines)
	got := decode(t, good.Bytes())
	require.Len(t, got, 21)
	require.Equal(t, int64(20), got[20].fields["encoder_withheld"])
}

// Rotation as cmd does it: rename, then Reopen on the fan-out.
func TestFanoutReopensFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.lp")
	w, err := NewFile(path)
	require.NoError(t, err)
	q := NewQueue(w, QueueOptions{Log: quiet()})
	f := NewFanout(NewEncoder(testHost, EncoderOptions{Log: quiet()}), q)
	require.NoError(t, f.Window(window(plainPath())))
	require.Eventually(t, func() bool { return q.Stats().Delivered.Batches == 1 }, 5*time.Second, time.Millisecond)
	require.NoError(t, os.Rename(path, path+".1"))
	require.NoError(t, f.Reopen())
	require.NoError(t, f.Window(window(plainPath(), v6Path())))
	require.NoError(t, f.Close(t.Context()))
	for name, lines := range map[string]int{path + ".1": 1, path: 2} {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Len(t, decode(t, data), lines)
	}
}
