package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/scripts/vm-test/wire"
)

var planned = []wire.Run{{Package: "pkg/a"}, {Package: "pkg/b"}}

// script writes what a guest writes: text as it is, events as lines of their own.
func script(parts ...any) *bytes.Buffer {
	b := &bytes.Buffer{}
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b.WriteString(strings.ReplaceAll(p, "^", "\x16"))
		case wire.Event:
			_ = wire.Write(b, p)
		}
	}
	return b
}

var (
	boot   = wire.Event{Kind: wire.Boot, Text: "6.1.0-cloud"}
	done   = wire.Event{Kind: wire.Done}
	beginA = wire.Event{Kind: wire.Begin, Package: "pkg/a"}
	beginB = wire.Event{Kind: wire.Begin, Package: "pkg/b"}
	endB   = wire.Event{Kind: wire.End, Package: "pkg/b", Seconds: 2}
)

func endA(status int) wire.Event {
	return wire.Event{Kind: wire.End, Package: "pkg/a", Status: status, Seconds: 1}
}

const goodA = `^=== RUN   TestOne
some output without an end^--- PASS: TestOne (0.01s)
^=== RUN   TestMany
^=== RUN   TestMany/v4
^=== PAUSE TestMany/v4
^=== RUN   TestMany/v6
    a_test.go:3: needs team: no such module
^--- SKIP: TestMany/v6 (0.00s)
^=== CONT  TestMany/v4
^--- PASS: TestMany/v4 (0.00s)
^--- PASS: TestMany (0.02s)
PASS
`

func TestVerdictCountsTestsWithoutTheirParents(t *testing.T) {
	v := judge(script("noise of the boot\n", boot, beginA, goodA, endA(0), beginB, "^=== RUN   TestB\n^--- PASS: TestB (0.1s)\n", endB, done), planned)
	require.True(t, v.ok(), "%v", v.problems)
	require.Equal(t, "6.1.0-cloud", v.release)
	require.Equal(t, counts{run: 4, passed: 3, skipped: 1}, v.count())
	require.Equal(t, []string{"    a_test.go:3: needs team: no such module"}, v.results[0].lastWords("TestMany/v6", 1))
	require.Equal(t, 2.0, v.results[1].seconds)
}

func TestEveryKindOfFailureIsAProblem(t *testing.T) {
	failing := "^=== RUN   TestF\n    f_test.go:9: wrong\n^--- FAIL: TestF (0.0s)\nFAIL\n"
	hanging := "^=== RUN   TestOk\n^--- PASS: TestOk (0.0s)\n^=== RUN   TestHang\nstill here\n"
	b := []any{beginB, "^=== RUN   TestB\n^--- PASS: TestB (0.1s)\n", endB, done}
	for name, c := range map[string]struct {
		output []any
		want   string // a problem; none: the failed test is enough
		failed int
	}{
		"nothing":              {[]any{"SeaBIOS\n"}, "did not come up", 0},
		"nothing but boot":     {[]any{boot}, "no verdict", 0},
		"died in a test":       {[]any{boot, beginA, hanging}, "died in pkg/a, during TestHang", 1},
		"panicked":             {append([]any{boot, beginA, hanging + "panic: oh\n", endA(2)}, b...), "status 2 during TestHang", 1},
		"killed":               {append([]any{boot, beginA, hanging, endA(-1)}, b...), "status -1 during TestHang", 1},
		"failed":               {append([]any{boot, beginA, failing, endA(1)}, b...), "", 1},
		"failed in silence":    {append([]any{boot, beginA, failing, endA(0)}, b...), "although tests failed", 1},
		"failed outside":       {append([]any{boot, beginA, goodA + "found leaks\n", endA(1)}, b...), "status 1", 0},
		"would not start":      {append([]any{boot, beginA, "exec format error\n", endA(127)}, b...), "status 127", 0},
		"a package missing":    {append([]any{boot}, b...), "1 packages ran, want 2", 0},
		"no tests":             {[]any{boot, beginA, endA(0), beginB, endB, done}, "no test ran", 0},
		"a module not loaded":  {append([]any{boot, wire.Event{Kind: wire.Problem, Text: "load module x"}, beginA, goodA, endA(0)}, b...), "load module x", 0},
		"a parent by itself":   {append([]any{boot, beginA, strings.Replace(goodA, "PASS: TestMany ", "FAIL: TestMany ", 1), endA(1)}, b...), "", 1},
		"cut in the last line": {[]any{boot, beginA, goodA, "\x1evm {\"Kind\":\"en"}, "died in pkg/a, during no test", 0},
	} {
		v := judge(script(c.output...), planned)
		require.False(t, v.ok(), name)
		require.Equal(t, c.failed, v.count().failed, name)
		if c.want == "" {
			require.Empty(t, v.problems, name)
		} else {
			require.Contains(t, fmt.Sprint(v.problems), c.want, name)
		}
	}
}

func TestAKernelThatComplainsIsHeard(t *testing.T) {
	quiet := "[    0.1] Linux version\n[    0.2] x86/cpu: SGX disabled\n[    3.0] device veth0 entered promiscuous mode\n"
	require.Empty(t, kernelComplaint([]byte(quiet)))
	for _, bad := range []string{
		"[    9.1] Kernel panic - not syncing: Attempted to kill init!", "[    9.1] BUG: unable to handle page fault for address: 0000",
		"[    9.1] WARNING: CPU: 0 PID: 99 at net/core/dev.c:1 f+0x1/0x2", "[    9.1] Oops: 0002 [#1] SMP",
		"[    9.1] unregister_netdevice: waiting for lo to become free. Usage count = 1",
	} {
		got := kernelComplaint([]byte(quiet + bad + "\n[    9.2] Call Trace:\n"))
		require.Equal(t, bad+"\n[    9.2] Call Trace:\n", got)
	}
}

func TestSkipsAreForOlderKernelsOnly(t *testing.T) {
	for _, c := range []struct {
		why, version string
		refused      bool
	}{
		{"needs team: no such module", "5.10.262-1", true},
		{"needs XDP fragments (Linux 5.18)", "5.10.262-1", false},
		{"needs XDP fragments (Linux 5.18)", "5.18.2-1", true},
		{"needs XDP fragments (Linux 5.18)", "6.1.192-2", true},
	} {
		v := judge(script(boot, beginA, "^=== RUN   TestS\n    s_test.go:1: "+c.why+"\n^--- SKIP: TestS (0.0s)\n", endA(0), beginB, endB, done), planned)
		v.refuseSkips(c.version)
		require.Equal(t, c.refused, !v.ok(), "%v", c)
	}
}
