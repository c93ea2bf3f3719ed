//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// tool runs a command in the host; it skips the test where there is none, if skips are allowed.
func tool(t testing.TB, h *lab.Host, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("LLAMA_TEST_NOSKIP") != "" {
			t.Fatalf("needs %s: %v", name, err)
		}
		t.Skipf("needs %s: %v", name, err)
	}
	out, err := h.Command(context.Background(), name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	return out
}

// nft runs rules in the host: its own firewall, where the lab's faults never are.
func nft(t testing.TB, h *lab.Host, rules string) {
	t.Helper()
	tool(t, h, "nft", rules)
}

// counter reads a named counter of table ip e2e.
func counter(t testing.TB, h *lab.Host, name string) int {
	t.Helper()
	var list struct {
		Nftables []struct{ Counter *struct{ Packets int } }
	}
	require.NoError(t, json.Unmarshal(tool(t, h, "nft", "--json", "list counter ip e2e "+name), &list))
	for _, e := range list.Nftables {
		if e.Counter != nil {
			return e.Counter.Packets
		}
	}
	t.Fatalf("no counter %s", name)
	return 0
}

// kernelCount reads one counter of the host's stack, by the name that nstat(8) has for it.
func kernelCount(t testing.TB, h *lab.Host, name string) int64 {
	t.Helper()
	var stat struct{ Kernel map[string]int64 }
	out := tool(t, h, "nstat", "--json", "--zeros", "--ignore", "--noupdate", name)
	require.NoError(t, json.Unmarshal(out, &stat), "%s", out)
	require.Contains(t, stat.Kernel, name)
	return stat.Kernel[name]
}

// ip runs iproute2 in the host.
func ip(t testing.TB, h *lab.Host, args string) {
	t.Helper()
	tool(t, h, "ip", strings.Fields(args)...)
}
