//go:build linux

package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"github.com/stretchr/testify/require"
)

// line is one line of line protocol.
type line struct {
	measurement string
	tags        map[string]string
	ints        map[string]int64
	floats      map[string]float64
	at          time.Time
}

// readLines decodes a file sink and holds every line against what holds for all lines.
func readLines(t testing.TB, file string) (lines []line) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	seen := map[string]bool{}
	for d := lineprotocol.NewDecoderWithBytes(b); d.Next(); {
		l, series := readLine(t, d)
		require.False(t, seen[series], "two lines of %s", series)
		seen[series] = true
		if l.measurement == "llama_path" || l.measurement == "llama_flow" {
			c := l.counts()
			c.identities(t)
		}
		lines = append(lines, l)
	}
	require.Equal(t, strings.Count(string(b), "\n"), len(lines))
	return lines
}

// readLine also returns what no two lines may share: measurement, tags and time.
func readLine(t testing.TB, d *lineprotocol.Decoder) (l line, series string) {
	t.Helper()
	l = line{tags: map[string]string{}, ints: map[string]int64{}, floats: map[string]float64{}}
	m, err := d.Measurement()
	require.NoError(t, err)
	l.measurement = string(m)
	var keys []string
	series = l.measurement
	for {
		k, v, err := d.NextTag()
		require.NoError(t, err)
		if k == nil {
			break
		}
		l.tags[string(k)] = string(v)
		keys = append(keys, string(k))
		series += "," + string(k) + "=" + string(v)
	}
	require.True(t, slices.IsSorted(keys))
	for {
		k, v, err := d.NextField()
		require.NoError(t, err)
		if k == nil {
			break
		}
		switch v.Kind() {
		case lineprotocol.Int:
			l.ints[string(k)] = v.IntV()
		case lineprotocol.Float:
			l.floats[string(k)] = v.FloatV()
		default:
			t.Fatalf("field %s is %s", k, v.Kind())
		}
	}
	l.at, err = d.Time(lineprotocol.Nanosecond, time.Time{})
	require.NoError(t, err)
	require.False(t, l.at.IsZero())
	return l, series + " " + l.at.String()
}

func (l *line) counts() counts {
	i := l.ints
	return counts{
		Sent: i["sent"], Received: i["received"], Lost: i["lost"], LostForward: i["lost_forward"], LostReverse: i["lost_reverse"],
		LostUnsplit: i["lost_unsplit"], Refused: i["refused"], Unreachable: i["unreachable"], Late: i["late"],
		NotSent: i["not_sent"], LocalDrop: i["local_drop"], Duplicate: i["duplicate"], Reordered: i["reordered"], Corrupted: i["corrupted"],
	}
}

func (c counts) plus(o counts) counts {
	c.Sent += o.Sent
	c.Received += o.Received
	c.Lost += o.Lost
	c.LostForward += o.LostForward
	c.LostReverse += o.LostReverse
	c.LostUnsplit += o.LostUnsplit
	c.Refused += o.Refused
	c.Unreachable += o.Unreachable
	c.Late += o.Late
	c.NotSent += o.NotSent
	c.LocalDrop += o.LocalDrop
	c.Duplicate += o.Duplicate
	c.Reordered += o.Reordered
	c.Corrupted += o.Corrupted
	return c
}

// pathTo sums the lines of llama_path to a target.
func pathTo(lines []line, dst string) (sum counts, n int) {
	for _, l := range lines {
		if l.measurement != "llama_path" || l.tags["dst"] != dst {
			continue
		}
		n++
		sum = sum.plus(l.counts())
	}
	return sum, n
}

// requireAllBack: everything that left was answered, on a busy machine perhaps late.
func requireAllBack(t testing.TB, c *counts) {
	t.Helper()
	require.Positive(t, c.Received)
	require.Equal(t, c.Sent, c.Received+c.Late, "%+v", *c)
}

// last returns the agent's own counters as it wrote them last.
func last(t testing.TB, lines []line) map[string]int64 {
	t.Helper()
	for _, l := range slices.Backward(lines) {
		if l.measurement == "llama_agent" {
			return l.ints
		}
	}
	t.Fatal("no line llama_agent")
	return nil
}
