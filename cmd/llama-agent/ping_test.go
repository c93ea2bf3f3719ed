package main

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

func TestSplitTarget(t *testing.T) {
	for in, want := range map[string]struct {
		host string
		port uint16
	}{
		"a1-h1":            {"a1-h1", 862},
		"a1-h1:8620":       {"a1-h1", 8620},
		"10.0.0.2":         {"10.0.0.2", 862},
		"10.0.0.2:1":       {"10.0.0.2", 1},
		"fd00::2":          {"fd00::2", 862},
		"[fd00::2]":        {"fd00::2", 862},
		"[fd00::2]:65535":  {"fd00::2", 65535},
		"fe80::1%eth0":     {"fe80::1%eth0", 862},
		"[fe80::1%eth0]:9": {"fe80::1%eth0", 9},
	} {
		host, port, err := splitTarget(in)
		require.NoError(t, err, in)
		require.Equal(t, want.host, host, in)
		require.Equal(t, want.port, port, in)
	}
	for _, in := range []string{"", ":862", "a:0", "a:65536", "a:b", "a:1:2"} {
		_, _, err := splitTarget(in)
		require.Error(t, err, in)
	}
}

func TestUsageErrorsAreAllSaidAndExitTwo(t *testing.T) {
	for _, test := range []struct {
		args []string
		says []string
	}{
		{[]string{"ping"}, []string{"requires at least 1 arg"}},
		{[]string{"ping", "--count", "-1", "--interval", "10us", "--dscp", "gold", "--output", "xml", "127.0.0.1"},
			[]string{"--count -1", "--interval 10µs is below 1ms", `--dscp "gold"`, `--output "xml"`}},
		{[]string{"ping", "--max-loss", "NaN", "--size", "65508", "--ports", "0", "-4", "-6", "127.0.0.1"},
			[]string{"--max-loss NaN", "--size 65508", "--ports 0", "exclude each other"}},
		{[]string{"ping", "--size", "69", "--count", "1", "127.0.0.1"}, []string{"probe of 69 octets"}},
		{[]string{"ping", "--mode", "turbo", "127.0.0.1"}, []string{`mode "turbo" is none of`}},
		{[]string{"ping", "127.0.0.1", "127.0.0.1"}, []string{"named twice"}},
		{[]string{"ping", "--key-file", "/nonexistent", "127.0.0.1"}, []string{"/nonexistent"}},
		{[]string{"reflect", "--listen", "862"}, []string{"want address:port"}},
		{[]string{"reflect", "--listen", "host:862"}, []string{"not an IP address"}},
		{[]string{"reflect", "--interface", "eth0", "--mode", "socket"}, []string{"sockets serve all interfaces"}},
		{[]string{"reflect", "--mode", "fast"}, []string{`mode "fast"`, "generic"}},
		{[]string{"reflect", "--pin", "llama"}, []string{"not an absolute path"}},
		{[]string{"maps", "--pin", "/nonexistent"}, []string{"no map at /nonexistent"}},
		{[]string{"reflect", "--allow", "10.0.0.0/33"}, []string{"want a prefix"}},
		{[]string{"run", "--config", "/nonexistent.yaml"}, []string{"/nonexistent.yaml"}},
		{[]string{"check", "--output", "xml"}, []string{`"xml"`}},
		{[]string{"trace"}, []string{"unknown command"}},
	} {
		var out, errs bytes.Buffer
		require.Equal(t, exitSetup, run(context.Background(), test.args, &out, &errs), "%q", test.args)
		for _, s := range test.says {
			require.Contains(t, errs.String(), s, "%q", test.args)
		}
	}
}

func TestPingJudgesByWhatHadNoReplyInTime(t *testing.T) {
	path := func(c probe.Counts, rttNs ...int64) *probe.Path {
		p := &probe.Path{Counts: c}
		for _, v := range rttNs {
			p.RTT.Record(v)
		}
		return p
	}
	strict, loose := &pingFlags{}, &pingFlags{maxLoss: 0.5, maxRTT: 1000}
	for name, test := range map[string]struct {
		flags *pingFlags
		path  *probe.Path
		says  string
	}{
		"all came":            {strict, path(probe.Counts{Sent: 4, Received: 4}), ""},
		"one lost":            {strict, path(probe.Counts{Sent: 4, Received: 3, Lost: 1, LostForward: 1}), "0.25 of the probes"},
		"one late":            {strict, path(probe.Counts{Sent: 4, Received: 3, Late: 1}), "0.25 of the probes"},
		"our own drop":        {strict, path(probe.Counts{Sent: 4, Received: 3, LocalDrop: 1}), ""},
		"port unreachable":    {loose, path(probe.Counts{Sent: 4, Unreachable: 4}), "nothing came back"},
		"nothing left":        {loose, path(probe.Counts{NotSent: 4}), "nothing came back"},
		"within":              {loose, path(probe.Counts{Sent: 4, Received: 2, Lost: 2, LostUnsplit: 2}, 900, 900), ""},
		"slow":                {loose, path(probe.Counts{Sent: 4, Received: 4}, 900, 2000), "RTT p99 2.0"},
		"no RTT to judge":     {loose, path(probe.Counts{Sent: 4, Received: 4}), "no RTT"},
		"without a limit yet": {strict, path(probe.Counts{Sent: 1, Received: 1}, 5e9), ""},
	} {
		got := test.flags.beyond(test.path)
		if test.says == "" {
			require.Empty(t, got, name)
		} else {
			require.Contains(t, got, test.says, name)
		}
	}
}
