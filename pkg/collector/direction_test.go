package collector

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// every applies do to each nth probe but the first, deliver to the rest.
func every(n uint32, do fate) func(uint32) fate {
	return func(seq uint32) fate {
		if seq%n == n/2 {
			return do
		}
		return deliver
	}
}

func TestEndings(t *testing.T) {
	for name, test := range map[string]struct {
		script func(uint32) fate
		want   probe.Counts
	}{
		"forward":       {every(10, dropForward), probe.Counts{Sent: 40, Received: 36, Lost: 4, LostForward: 4}},
		"reverse":       {every(10, dropReverse), probe.Counts{Sent: 40, Received: 36, Lost: 4, LostReverse: 4}},
		"refused":       {every(10, refuse), probe.Counts{Sent: 40, Received: 36, Refused: 4}},
		"late":          {every(10, delay), probe.Counts{Sent: 40, Received: 36, Late: 4, Reordered: 4}},
		"overtaken":     {every(10, overtaken), probe.Counts{Sent: 40, Received: 40, Reordered: 4}},
		"twice forward": {every(10, twiceForward), probe.Counts{Sent: 40, Received: 40, Duplicate: 4}},
		"twice reverse": {every(10, twiceReverse), probe.Counts{Sent: 40, Received: 40, Duplicate: 4}},
		"forged": {every(10, forgeT1), probe.Counts{Sent: 40, Received: 36, Lost: 4, LostReverse: 4,
			Corrupted: 4}},
		"all": {func(uint32) fate { return dropForward }, probe.Counts{Sent: 40, Lost: 40, LostUnsplit: 40}},
		"both ways, reordered and duplicated beside": {func(seq uint32) fate {
			return [...]fate{deliver, dropForward, deliver, dropReverse, deliver, overtaken, deliver, twiceForward, deliver, refuse}[seq%10]
		}, probe.Counts{Sent: 40, Received: 28, Lost: 12, LostForward: 4, LostReverse: 4, LostUnsplit: 4,
			Duplicate: 4, Reordered: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, "127.0.0.1:0", test.script)
			w, _ := measure(t, testOptions(target("t", p.addr())))
			got := onePath(t, w).Counts
			// At the end of the mixed script a refused probe has no reply after it.
			require.Equal(t, test.want, got)
		})
	}
}

// Whatever happens to the probes, each is lost or not as it was, and no loss is
// blamed on a direction it did not come from.
func TestDirectionNeverBlamesTheWrongSide(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 100).Draw(rt, "probes")
		fates := rapid.SliceOfN(rapid.SampledFrom([]fate{deliver, deliver, deliver, dropForward, dropReverse, refuse, overtaken}), n, n).Draw(rt, "fates")
		// A lost probe that overtook another one raises the count before its turn.
		// Once is found out; time after time it is the same as an older session.
		for i, seen := 1, false; i < n; i++ {
			if fates[i-1] == overtaken && fates[i] != deliver {
				if seen {
					fates[i] = deliver
				}
				seen = true
			}
		}
		got := settleScript(fates)
		var want [numFates]uint64
		for _, f := range fates {
			want[f]++
		}
		require.NoError(rt, got.Check())
		require.LessOrEqual(rt, got.LostForward, want[dropForward])
		require.LessOrEqual(rt, got.LostReverse, want[dropReverse])
		require.LessOrEqual(rt, got.Refused, want[refuse])
		require.Equal(rt, want[dropForward]+want[dropReverse]+want[refuse], got.Lost+got.Refused)
	})
}
