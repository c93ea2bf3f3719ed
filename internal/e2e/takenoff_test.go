//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// egressLinks are the ids of the agent's links that hold a program on the egress of an interface, by the kernel's word.
// They are not pinned.
func (a *agent) egressLinks(t *testing.T) (ids []int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", a.cmd.Process.Pid))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		b, _ := os.ReadFile(f) // it may have been closed
		said := map[string]string{}
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok {
				said[k] = strings.TrimSpace(v)
			}
		}
		if said["link_type"] != "tcx" || said["ifindex"] == "0" || !strings.Contains(said["attach_type"], "egress") {
			continue
		}
		id, err := strconv.Atoi(said["link_id"])
		require.NoError(t, err)
		ids = append(ids, id)
	}
	return ids
}

// takeOff detaches links, as anybody with the right to may.
func takeOff(t *testing.T, h *lab.Host, links []int) {
	t.Helper()
	require.Len(t, links, 1)
	tool(t, h, "bpftool", "link", "detach", "id", strconv.Itoa(links[0]))
}

// TestProgramsTakenOff at both ends while probes leave: they are put back by themselves. Meanwhile the sockets do it, and
// what is lost is what the fabric dropped, also while nothing notes T1.
func TestProgramsTakenOff(t *testing.T) {
	t.Parallel()
	eachEmission(t, emissions[1:4], func(t *testing.T, e emission) {
		t.Parallel()
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		far := runWith(t, h2, ", mode: tc, interfaces: [eth0]", "targets: {}\n")
		tap, err := l.Fabric().Tap(h1)
		require.NoError(t, err)
		there, _ := passes(t, l, h1, h2)
		pass := func(n int64) {
			t.Helper()
			n += hits(t, there)
			eventually(t, func() bool { return hits(t, there) >= n }, "probes in the fabric")
		}
		near := e.begin(t, l, h1, "", bothTargets(h2))
		near.writes(t, "six", 1)

		takeOff(t, h1, near.egressLinks(t))
		pass(40)
		fault, err := l.Fabric().Drop(lab.Rule{From: h1, To: h2, DstPort: lab.DefaultReflectorPort, Every: 7})
		require.NoError(t, err)
		pass(100)
		dropped := take(t, fault)
		takeOff(t, h1, bpfLinks(t, h1, near.pin))
		takeOff(t, h2, bpfLinks(t, h2, far.pin))
		again := `msg="reflecting in the kernel again" interface=eth0 mode=`
		far.logs(t, again+"tc")
		near.logs(t, again+e.mode)
		eventually(t, func() bool { return len(near.egressLinks(t)) == 1 }, "T1 again")
		captured := near.own(t)["kernel_captured"]
		_, n := pathTo(readLines(t, near.output), "six")
		near.writes(t, "six", n+4)
		near.says(t, "kernel_captured", captured+100)
		near.stop(t)

		records, err := tap.Stop()
		require.NoError(t, err)
		truth := lab.RTTTruth(records, lab.TruthOptions{})
		lines := readLines(t, near.output)
		sum := pathToBoth(lines)
		t.Logf("dropped %d: %+v", dropped, sum)
		require.Positive(t, dropped)
		require.EqualValues(t, truth.Requests, sum.Sent)
		require.EqualValues(t, len(truth.RTTs), sum.Received+sum.Late)
		require.Equal(t, dropped, sum.Lost, "%+v", sum)
		require.Equal(t, dropped, sum.Sent-sum.Received-sum.Late)
		require.Equal(t, sum.NotSent, reasonsOf(t, near)["overrun"])
		require.Len(t, byClock(lines), 1)
		require.Equal(t, 2, strings.Count(near.log.String(), `msg="program lost"`))
	})
}

// TestProberKilledInTheKernel, and started again amid its own sessions: it takes its programs over, and from its first
// window on has what the fabric's tap saw.
func TestProberKilledInTheKernel(t *testing.T) {
	t.Parallel()
	eachEmission(t, emissions[1:4], func(t *testing.T, e emission) {
		t.Parallel()
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		reflect(t, h2)
		near := e.begin(t, l, h1, "", bothTargets(h2))
		near.writes(t, "six", 2)
		links := bpfLinks(t, h1, near.pin)
		near.kill(t)
		before := len(readLines(t, near.output))
		tap, err := l.Fabric().Tap(h1)
		require.NoError(t, err)
		captured := inKernel(t, h1, near.pin)["take captured"]
		require.Positive(t, captured)
		near.start(t)
		require.Equal(t, links, bpfLinks(t, h1, near.pin), "the same link, taken over")
		require.Len(t, near.egressLinks(t), 1, "that of the dead agent went with it")
		_, n := pathTo(readLines(t, near.output), "six")
		near.writes(t, "six", n+3)
		near.stop(t)
		records, err := tap.Stop()
		require.NoError(t, err)
		truth := lab.RTTTruth(records, lab.TruthOptions{})
		lines := readLines(t, near.output)[before:]
		sum, own := pathToBoth(lines), last(t, lines)
		t.Logf("%+v", sum)
		require.EqualValues(t, truth.Requests, sum.Sent)
		require.EqualValues(t, len(truth.RTTs), sum.Received+sum.Late)
		requireAllBack(t, &sum)
		require.Zero(t, sum.Duplicate+sum.Corrupted)
		require.Equal(t, sum.Received+sum.Late, own["kernel_captured"]-int64(captured), "the kernel counts on, and none came to a socket")
		require.Zero(t, own["collector_reply_unmatched"])
		require.Len(t, byClock(lines), 1)
	})
}
