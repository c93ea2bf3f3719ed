//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// counts are what a path, in JSON or in line protocol, says of its probes.
type counts struct {
	Sent        int64 `json:"sent"`
	Received    int64 `json:"received"`
	Lost        int64 `json:"lost"`
	LostForward int64 `json:"lost_forward"`
	LostReverse int64 `json:"lost_reverse"`
	LostUnsplit int64 `json:"lost_unsplit"`
	Refused     int64 `json:"refused"`
	Unreachable int64 `json:"unreachable"`
	Late        int64 `json:"late"`
	NotSent     int64 `json:"not_sent"`
	LocalDrop   int64 `json:"local_drop"`
	Duplicate   int64 `json:"duplicate"`
	Reordered   int64 `json:"reordered"`
	Corrupted   int64 `json:"corrupted"`
}

// identities are the two equations that hold on every line.
func (c *counts) identities(t testing.TB) {
	t.Helper()
	require.Equal(t, c.Sent, c.Received+c.Late+c.Lost+c.Refused+c.Unreachable+c.LocalDrop, "%+v", *c)
	require.Equal(t, c.Lost, c.LostForward+c.LostReverse+c.LostUnsplit, "%+v", *c)
}

// allReceived is what a path of so many due probes says where nothing is wrong.
func (r *result) allReceived(due int64) counts {
	return counts{Sent: due - r.Overrun, Received: due - r.Overrun}
}

// allUnsplit: nothing came back.
func (r *result) allUnsplit(due int64) counts {
	return counts{Sent: due - r.Overrun, Lost: due - r.Overrun, LostUnsplit: due - r.Overrun}
}

// allNotSent: nothing left.
func (r *result) allNotSent(due int64) counts { return counts{NotSent: due - r.Overrun} }

// due is how many probes were to be sent.
func (r *result) due() int64 { return r.Sent + r.NotSent + r.Overrun }

// times is a distribution in microseconds.
type times struct{ Min, Mean, P50, P90, P99, P999, Max float64 }

type ways struct{ Forward, Reverse *int }

// result is one object of `ping --output json`.
type result struct {
	Target, Address, Class, Clock string
	counts
	HostDrops int64  `json:"host_drops"`
	RTT       *times `json:"rtt_us"`
	Responder *times `json:"responder_us"`
	SendLate  *times `json:"send_late_us"`
	DSCP      struct {
		Sent int
		ways
	}
	Hops    ways
	Reasons map[string]int64 `json:"not_sent_by"`
	Overrun int64            `json:"-"` // taken out of NotSent and Reasons: the test machine was busy
	Flows   []struct {
		SrcPort              uint16 `json:"src_port"`
		Sent, Received, Lost int64
	}
}

// pinging is a `ping --output json` that runs in a host.
type pinging struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

// pingMost bounds every ping of these tests.
const pingMost = 40 * time.Second

// startPing measures over sockets unless args name another mode.
func startPing(t testing.TB, h *lab.Host, args ...string) *pinging {
	t.Helper()
	if !slices.Contains(args, "--mode") {
		args = append([]string{"--mode", "socket"}, args...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), pingMost)
	p := &pinging{cmd: command(ctx, h, append([]string{"ping", "--output", "json"}, args...)...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = p.cmd.Wait()
	})
	return p
}

// wait returns what was measured and the exit status; the identities hold on all of it.
func (p *pinging) wait(t testing.TB) (results []result, status int) {
	t.Helper()
	status = exitStatus(t, p.cmd.Wait())
	for d := json.NewDecoder(&p.stdout); d.More(); {
		var r result
		require.NoError(t, d.Decode(&r))
		r.identities(t)
		r.Overrun = r.Reasons["overrun"]
		r.NotSent -= r.Overrun
		delete(r.Reasons, "overrun")
		results = append(results, r)
	}
	return results, status
}

func exitStatus(t testing.TB, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	require.NoError(t, err)
	return 0
}

// ping runs one ping to its end and returns its only path.
func ping(t testing.TB, h *lab.Host, args ...string) (result, int) {
	t.Helper()
	p := startPing(t, h, args...)
	results, status := p.wait(t)
	require.Len(t, results, 1, "stderr: %s", &p.stderr)
	return results[0], status
}

// target writes an address as an argument of ping.
func target(a netip.Addr) string { return netip.AddrPortFrom(a, lab.DefaultReflectorPort).String() }

// load are the arguments for so many probes of so many ports.
func load(ports, count int, interval time.Duration, more ...string) []string {
	return append([]string{"--ports", strconv.Itoa(ports), "--count", strconv.Itoa(count), "--interval", interval.String()}, more...)
}

// eachMode runs a test with the prober's stamps at its sockets and in the kernel: what it counts must not depend on that.
func eachMode(t *testing.T, test func(t *testing.T, mode string)) {
	for _, mode := range []string{"socket", "tc"} {
		t.Run(mode, func(t *testing.T) { test(t, mode) })
	}
}

// eachModeAndFamily is eachMode in both families, side by side.
func eachModeAndFamily(t *testing.T, test func(t *testing.T, mode string, six bool)) {
	eachMode(t, func(t *testing.T, mode string) {
		families(t, func(t *testing.T, six bool) {
			t.Parallel()
			test(t, mode, six)
		})
	})
}

func families(t *testing.T, test func(t *testing.T, six bool)) {
	for _, six := range []bool{false, true} {
		t.Run(fmt.Sprintf("ipv%d", map[bool]int{false: 4, true: 6}[six]), func(t *testing.T) { test(t, six) })
	}
}
