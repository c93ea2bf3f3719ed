//go:build linux

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/sock"
)

// says waits until the agent says of itself, in its last line, that the field is above so much. It returns the line's integers.
func (r *running) says(t testing.TB, field string, above int64) (own map[string]int64) {
	t.Helper()
	eventually(t, func() bool {
		own = r.own(t)
		return own[field] > above
	}, "%s above %d", field, above)
	return own
}

// own returns the integers of the agent's last own line so far; nil if there is none.
func (r *running) own(t testing.TB) map[string]int64 {
	t.Helper()
	b, err := os.ReadFile(r.output)
	require.NoError(t, err)
	b = b[:bytes.LastIndexByte(b, '\n')+1] // whole lines
	at := bytes.LastIndex(b, []byte("llama_agent,"))
	if at < 0 {
		return nil
	}
	d := lineprotocol.NewDecoderWithBytes(b[at:])
	require.True(t, d.Next())
	l, _ := readLine(t, d)
	return l.ints
}

// TestOwnFieldsSayWhy makes figures go missing, one cause after the other, and looks where docs/operating.md ("A figure is
// missing") says: that field moves, and had not before.
func TestOwnFieldsSayWhy(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflector := reflect(t, h2)
	nft(t, h1, "add table inet e2e; add chain inet e2e out { type filter hook output priority 0; }")
	r := runProbing(t, h1, ", one_way: true", oneTarget)
	moves := func(field string) {
		t.Helper()
		r.says(t, field, 0)
	}

	own := r.says(t, "probes_received", 0)
	for _, field := range []string{
		"collector_not_sent_no_route", "collector_not_sent_filtered", "probes_unreachable", "targets_not_probed",
		"config_reloads_done", "config_reloads_partial", "config_reloads_refused",
	} {
		require.Zero(t, own[field], field)
		require.Contains(t, own, field)
	}
	require.Equal(t, hashOf(t, r.config), own["config_hash"])
	require.EqualValues(t, 2, own["interface_eth0_step"], "veth gets TC ingress")
	for _, field := range []string{"process_resident_bytes", "process_goroutines", "config_loaded_timestamp_seconds", "config_last_reload_ok"} {
		require.Positive(t, own[field], field)
	}
	if sock.ReadClockQuality().Synchronized {
		require.EqualValues(t, 1, own["clock_synchronised"])
		require.Zero(t, own["collector_one_way_unknown"])
	} else {
		require.Contains(t, own, "clock_synchronised")
		require.Zero(t, own["clock_synchronised"])
		moves("collector_one_way_unknown")
	}

	ip(t, h1, "route add unreachable 10.77.2.0/24")
	moves("collector_not_sent_no_route")
	ip(t, h1, "route del unreachable 10.77.2.0/24")
	nft(t, h1, "add rule inet e2e out udp dport 862 drop")
	moves("collector_not_sent_filtered")
	nft(t, h1, "flush chain inet e2e out")
	reflector.stop(t)
	moves("probes_unreachable")

	was := r.own(t)["config_hash"]
	r.configure(t, "targets: []\nprobbing: {}\n")
	r.signal(t, syscall.SIGHUP)
	own = r.says(t, "config_reloads_refused", 0)
	require.Zero(t, own["config_last_reload_ok"])
	require.Equal(t, was, own["config_hash"], "the old one is in force")
	r.configure(t, `  - influx: {url: "http://127.0.0.1:9", database: llama}`+"\n"+oneTarget+"  nameless: {address: no-such-host.invalid}\n")
	r.signal(t, syscall.SIGHUP)
	own = r.says(t, "config_reloads_done", 0)
	require.EqualValues(t, 1, own["config_last_reload_ok"])
	require.Equal(t, hashOf(t, r.config), own["config_hash"])
	moves("targets_not_probed")
	sink := ""
	for name := range own {
		if strings.HasPrefix(name, "sink_influx_http") && strings.HasSuffix(name, "_errors_network") {
			sink = name
		}
	}
	moves(sink)

	r.stop(t)
	lines := readLines(t, r.output)
	sum, _ := pathTo(lines, "one")
	own = last(t, lines)
	require.Equal(t, sum, counts{
		Sent: own["probes_sent"], Received: own["probes_received"], Lost: own["probes_lost"], LostForward: own["probes_lost_forward"],
		LostReverse: own["probes_lost_reverse"], LostUnsplit: own["probes_lost_unsplit"], Refused: own["probes_refused"],
		Unreachable: own["probes_unreachable"], Late: own["probes_late"], NotSent: own["probes_not_sent"], LocalDrop: own["probes_local_drop"],
		Duplicate: own["probes_duplicate"], Reordered: own["probes_reordered"], Corrupted: own["probes_corrupted"],
	}, "how all probes ended, over reloads too")
}

// hashOf is what config_hash says of a file.
func hashOf(t testing.TB, file string) int64 {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	sum := sha256.Sum256(b)
	return int64(binary.BigEndian.Uint64(sum[:]) >> 16)
}
