package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogsBelongToOneRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(path, true)
	require.NoError(t, err)
	_, err = lock(path, false)
	require.ErrorIs(t, err, errTaken)
	unlock()
	unlock, err = lock(path, false)
	require.NoError(t, err)
	unlock()
}

// Where the files of a kernel lie has changed over time.
func TestKernelIsArrangedFromOldAndNewPackages(t *testing.T) {
	if _, err := exec.LookPath("depmod"); err != nil {
		if os.Getenv("LLAMA_TEST_NOSKIP") != "" {
			t.Fatalf("needs depmod, and LLAMA_TEST_NOSKIP is set: %v", err)
		}
		t.Skipf("needs depmod: %v", err)
	}
	for name, files := range map[string][]string{
		"boot and lib": {"boot/vmlinuz-1.2.3", "lib/modules/1.2.3/modules.builtin", "lib/modules/1.2.3/modules.order"},
		"all of it in usr": {
			"usr/lib/modules/1.2.3/vmlinuz", "usr/lib/modules/1.2.3/modules.builtin", "usr/lib/modules/1.2.3/modules.order",
		},
		"both": {"usr/lib/modules/1.2.3/vmlinuz", "usr/lib/modules/1.2.3/modules.builtin", "lib/modules/1.2.3/modules.order"},
	} {
		root, whole := filepath.Join(t.TempDir(), "root"), filepath.Join(t.TempDir(), "whole")
		for _, f := range files {
			path := filepath.Join(root, f)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, nil, 0o644))
		}
		require.NoError(t, arrange(t.Context(), root, whole, "1.2.3"), name)
		for _, f := range []string{"vmlinuz", "lib/modules/1.2.3/modules.dep", "lib/modules/1.2.3/modules.order"} {
			require.FileExists(t, filepath.Join(whole, f), name)
		}
	}
	require.Error(t, arrange(t.Context(), t.TempDir(), t.TempDir(), "1.2.3"))
}
