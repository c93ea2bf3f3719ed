package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReportIsOneLineUnlessThereIsMoreToSay(t *testing.T) {
	g := &guest{kernel: kernel{line: "6.1", release: "6.1.0-cloud"}, logs: "logs"}
	good := judge(script(boot, beginA, strings.ReplaceAll(goodA, "SKIP", "PASS"), endA(0), beginB, endB, done), planned)
	good.took = 90 * time.Second
	var b bytes.Buffer
	report(&b, g, good)
	require.Equal(t, "ok   6.1.0-cloud                        run    3  passed    3  skipped   0  failed   0    90 s\n", b.String())

	b.Reset()
	failing := "^=== RUN   TestF\n    f_test.go:9: wrong\n    by far\n^--- FAIL: TestF (0.0s)\nFAIL\n"
	bad := judge(script(boot, beginA, goodA+failing, endA(1)), planned)
	bad.lacking = []string{"team", "nft_x"}
	report(&b, g, bad)
	for _, want := range []string{
		"FAIL 6.1.0-cloud", "run    4  passed    2  skipped   1  failed   1",
		"     modules that it lacks: team, nft_x\n",
		"     skipped pkg/a TestMany/v6: a_test.go:3: needs team: no such module\n",
		"     failed pkg/a TestF\n             f_test.go:9: wrong\n             by far\n",
		"     problem: the guest gave no verdict\n",
		"     all of it: logs/6.1.tests.log, logs/6.1.console.log\n",
	} {
		require.Contains(t, b.String(), want)
	}
}
