//go:build linux

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/servers"
)

// TestAlertRules: what promtool says of the rules, and of the cases in which they fire and do not.
func TestAlertRules(t *testing.T) {
	promtool := servers.Program(t, "promtool")
	rules, err := filepath.Glob("../../deploy/alerts/*.rules.yml")
	require.NoError(t, err)
	require.NotEmpty(t, rules)
	for _, file := range rules {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			out, err := exec.Command(promtool, "check", "rules", file).CombinedOutput()
			require.NoError(t, err, "%s", out)
			out, err = exec.Command(promtool, "test", "rules", strings.Replace(file, ".rules.yml", ".test.yml", 1)).CombinedOutput()
			require.NoError(t, err, "%s", out)
		})
	}
}
