package probe

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCountsCheckNamesTheIdentityThatFails(t *testing.T) {
	whole := Counts{Sent: 21, Received: 10, Late: 1, Lost: 6, LostForward: 1, LostReverse: 2, LostUnsplit: 3,
		Refused: 1, Unreachable: 1, LocalDrop: 2}
	require.NoError(t, whole.Check())
	for name, mutate := range map[string]func(*Counts){
		"sent 22": func(c *Counts) { c.Sent++ },
		"sent 21": func(c *Counts) { c.Received-- },
		"lost 6":  func(c *Counts) { c.LostForward++ },
	} {
		c := whole
		mutate(&c)
		require.ErrorContains(t, c.Check(), name)
	}
}

func TestCountsLossRatioLeavesOutOurOwnDrops(t *testing.T) {
	r, ok := (&Counts{Sent: 12, Lost: 5, LocalDrop: 2}).LossRatio()
	require.True(t, ok)
	require.Equal(t, 0.5, r)
	_, ok = (&Counts{Sent: 2, LocalDrop: 2}).LossRatio()
	require.False(t, ok)
}
