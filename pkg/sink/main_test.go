package sink

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain is also the processes that tests start: one to be killed, and one with an
// environment of its own.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LLAMA_TEST_SPOOL"); dir != "" {
		spoolUntilKilled(dir, os.Getenv("LLAMA_TEST_FROM"))
	}
	if url := os.Getenv("LLAMA_TEST_WRITE"); url != "" {
		w, err := NewInflux(InfluxConfig{URL: url, Database: "llama"})
		if err == nil {
			err = w.Write(context.Background(), Batch{Data: []byte("a\n"), Lines: 1})
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("ok")
		return
	}
	os.Exit(m.Run())
}

// child runs this program with more in its environment, and returns what it says.
func child(t *testing.T, env ...string) string {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	require.NoError(t, err)
	return string(out)
}
