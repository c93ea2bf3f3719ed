//go:build linux

package hostinfo

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKernelOfThisMachine(t *testing.T) {
	k := ReadKernel()
	require.Equal(t, strings.TrimSpace(tool(t, nil, "uname", "-r")), k.Release)
	require.Equal(t, strings.TrimSpace(tool(t, nil, "uname", "-m")), k.Machine)
	if b, err := os.ReadFile("/proc/sys/net/core/bpf_jit_enable"); err == nil {
		require.NotNil(t, k.JIT)
		require.Equal(t, strings.TrimSpace(string(b)) != "0", *k.JIT)
	}
}

func TestJIT(t *testing.T) {
	yes, no := true, false
	always := map[string]string{"CONFIG_BPF_JIT": "y", "CONFIG_BPF_JIT_ALWAYS_ON": "y"}
	for name, c := range map[string]struct {
		sysctl string
		config map[string]string
		want   *bool
	}{
		"sysctl on":                  {"1", nil, &yes},
		"sysctl on, with debugging":  {"2", nil, &yes},
		"sysctl off":                 {"0", map[string]string{"CONFIG_BPF_JIT": "y"}, &no},
		"a container, always on":     {"", always, &yes},
		"a container, not built in":  {"", map[string]string{}, &no},
		"a container, could be off":  {"", map[string]string{"CONFIG_BPF_JIT": "y"}, nil},
		"a container without config": {"", nil, nil},
	} {
		require.Equal(t, c.want, jit(c.sysctl, c.config), name)
	}
}

func TestReadConfig(t *testing.T) {
	const text = "# Linux\nCONFIG_BPF_SYSCALL=y\n# CONFIG_BPF_JIT is not set\nCONFIG_NET_CLS_BPF=m\nCONFIG_OTHER=y\nCONFIG_BPF_JIT_ALWAYS_ON_NOT=y\n"
	want := map[string]string{"CONFIG_BPF_SYSCALL": "y", "CONFIG_NET_CLS_BPF": "m"}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, b, 0o600))
		return path
	}
	gz, plain, torn := file("config.gz", packed.Bytes()), file("config-1", []byte(text)), file("torn.gz", packed.Bytes()[:20])
	require.Equal(t, want, readConfig(gz, "/nowhere"))
	require.Equal(t, want, readConfig("/nowhere", plain))
	require.Equal(t, want, readConfig(torn, plain), "the next one where one is broken")
	require.Nil(t, readConfig("/nowhere", torn))
}
