package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/config"
)

func TestListsOutcome(t *testing.T) {
	good, faulty, held := config.List{Refused: 3}, config.List{Fault: "x"}, config.List{HeldBack: "x"}
	require.Equal(t, reloadDone, listsOutcome(nil))
	require.Equal(t, reloadDone, listsOutcome([]config.List{good}))
	require.Equal(t, reloadPartial, listsOutcome([]config.List{good, faulty}))
	require.Equal(t, reloadHeldBack, listsOutcome([]config.List{faulty, held}))
	require.Equal(t, map[string]float64{"config_lists": 3, "config_lists_faulty": 1, "config_lists_held_back": 1, "config_lists_refused": 3, "config_lists_stale": 1},
		valuesOf(listFields([]listState{{Refused: 3}, {Fault: "x"}, {HeldBack: "x", Stale: true}})))
}
