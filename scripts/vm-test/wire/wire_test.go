package wire

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEventComesBackAlsoAfterAnUnfinishedLine(t *testing.T) {
	want := Event{Kind: End, Package: "pkg/x", Status: 2, Seconds: 1.5}
	b := bytes.NewBufferString("no end of line")
	require.NoError(t, Write(b, want))
	lines := bytes.Split(b.Bytes(), []byte("\n"))
	got, ok := Parse(lines[1])
	require.True(t, ok)
	require.Equal(t, want, got)
	_, ok = Parse(lines[0])
	require.False(t, ok)
}

func TestWhatIsNoEvent(t *testing.T) {
	for _, line := range []string{"", "vm {}", prefix, prefix + `{"Kind":`, " " + prefix + "{}"} {
		_, ok := Parse([]byte(line))
		require.False(t, ok, "%q", line)
	}
}
