package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// peerRate is what a peer's client reached.
type peerRate struct {
	rate           float64 // sent/s
	sent, received float64
	cpu            time.Duration
}

func (r peerRate) lost() float64 { return r.sent - r.received }

func (b *bench) startIRTT(core int) (*process, error) {
	return b.serve(b.place.far, core, irttPort, "irtt", "server", "-i", "0", "-b", b.place.far.IPv4.String())
}

func (b *bench) startSockperf(core int) (*process, error) {
	return b.serve(b.place.far, core, sockperfPort, "sockperf", "server", "-i", b.place.far.IPv4.String(),
		"-p", strconv.Itoa(sockperfPort), "--buffer-size", strconv.Itoa(socketBuffer))
}

var (
	irttPackets     = regexp.MustCompile(`packets sent/received: (\d+)/(\d+)`)
	irttDuration    = regexp.MustCompile(`duration: (\S+)`)
	sockperfValid   = regexp.MustCompile(`Valid Duration\] RunTime=([\d.]+) sec; SentMessages=(\d+); ReceivedMessages=(\d+)`)
	sockperfDropped = regexp.MustCompile(`# dropped messages = (\d+)`)
	sockperfP       = regexp.MustCompile(`percentile (50|99)\.000 = +([\d.]+)`)
)

// irttRate runs its client as fast as the interval asks, or as it can.
func (b *bench) irttRate(core int, interval time.Duration) (r peerRate, err error) {
	out, state, err := b.output(b.place.near, core, "irtt", "client", "-i", interval.String(), "-d", b.scale.peer.String(),
		"-q", "--wait=500ms", b.place.far.IPv4.String())
	if err != nil {
		return r, err
	}
	n, d := irttPackets.FindStringSubmatch(out), irttDuration.FindStringSubmatch(out)
	if n == nil || d == nil {
		return r, fmt.Errorf("read irtt: no counts in %q", tail(out))
	}
	took, err := time.ParseDuration(d[1])
	if err != nil {
		return r, fmt.Errorf("read irtt: %w", err)
	}
	r.sent, r.received = float(n[1]), float(n[2])
	r.rate, r.cpu = r.sent/took.Seconds(), state.UserTime()+state.SystemTime()
	return r, nil
}

// irttRTT returns the quantiles of what its client reports, in µs.
func (b *bench) irttRTT() (p50, p99 float64, err error) {
	out, _, err := b.output(b.place.near, otherCore, "irtt", "client", "-i", rttInterval.String(), "-d", b.scale.rtt.String(),
		"-Q", "-o", "-", "--wait=500ms", b.place.far.IPv4.String())
	if err != nil {
		return 0, 0, err
	}
	var report struct {
		Trips []struct {
			Lost  string `json:"lost"`
			Delay struct {
				RTT float64 `json:"rtt"` // ns
			} `json:"delay"`
		} `json:"round_trips"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return 0, 0, fmt.Errorf("read irtt: %w", err)
	}
	var rtts []float64
	for _, t := range report.Trips {
		if t.Lost == "false" {
			rtts = append(rtts, t.Delay.RTT/1e3)
		}
	}
	return quantiles(rtts)
}

// quantiles returns the median and the 99th percentile (nearest rank).
func quantiles(v []float64) (p50, p99 float64, err error) {
	if len(v) == 0 {
		return 0, 0, fmt.Errorf("no round trip")
	}
	slices.Sort(v)
	return v[len(v)/2], v[len(v)*99/100], nil
}

// sockperfRate offers messages each of which is answered. Its client warms up
// for 0.4 s, and counts from there.
func (b *bench) sockperfRate(core, perSecond int) (r peerRate, err error) {
	out, state, err := b.sockperf(core, "under-load", b.scale.peer+time.Second, perSecond, "--reply-every", "1",
		"--buffer-size", strconv.Itoa(socketBuffer))
	if err != nil {
		return r, err
	}
	v, d := sockperfValid.FindStringSubmatch(out), sockperfDropped.FindStringSubmatch(out)
	if v == nil || d == nil {
		return r, fmt.Errorf("read sockperf: no counts in %q", tail(out))
	}
	r.sent = float(v[2])
	r.received = r.sent - float(d[1])
	r.rate, r.cpu = r.sent/float(v[1]), state.UserTime()+state.SystemTime()
	return r, nil
}

func (b *bench) sockperfRTT() (p50, p99 float64, err error) {
	out, _, err := b.sockperf(otherCore, "ping-pong", b.scale.rtt, int(time.Second/rttInterval))
	if err != nil {
		return 0, 0, err
	}
	for _, m := range sockperfP.FindAllStringSubmatch(out, -1) {
		if m[1] == "50" {
			p50 = float(m[2])
		} else {
			p99 = float(m[2])
		}
	}
	if p50 == 0 || p99 == 0 {
		return 0, 0, fmt.Errorf("read sockperf: no percentiles in %q", tail(out))
	}
	return p50, p99, nil
}

func (b *bench) sockperf(core int, mode string, d time.Duration, perSecond int, more ...string) (string, *os.ProcessState, error) {
	args := append([]string{mode, "-i", b.place.far.IPv4.String(), "-p", strconv.Itoa(sockperfPort), "-m", "68",
		"--full-rtt", "-t", strconv.Itoa(int(d.Seconds())), "--mps", strconv.Itoa(perSecond)}, more...)
	return b.output(b.place.near, core, "sockperf", args...)
}

// float reads what a regular expression has found to be a number.
func float(s string) float64 {
	v, _ := strconv.ParseFloat(s, 64)
	return v
}
