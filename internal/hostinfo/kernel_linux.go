package hostinfo

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Kernel is what the kernel offers to BPF programs.
type Kernel struct {
	Release string `json:"release"`
	Machine string `json:"machine"`
	BTF     bool   `json:"btf"`           // its own types are readable
	JIT     *bool  `json:"jit,omitempty"` // programs are compiled; nil: unknown
	// Config holds those of configKeys that the kernel's configuration has, where that is readable.
	Config map[string]string `json:"config,omitempty"`
}

// configKeys are the build options that steps of the ladder hang on.
var configKeys = []string{"CONFIG_BPF_SYSCALL", "CONFIG_BPF_JIT", "CONFIG_BPF_JIT_ALWAYS_ON", "CONFIG_DEBUG_INFO_BTF",
	"CONFIG_NET_CLS_BPF", "CONFIG_NET_SCH_INGRESS", "CONFIG_NET_XGRESS"}

// ReadKernel reads what can be read without rights.
func ReadKernel() Kernel {
	var k Kernel
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		k.Release, k.Machine = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
	}
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	k.BTF = err == nil
	k.Config = readConfig("/proc/config.gz", "/boot/config-"+k.Release)
	k.JIT = jit(readLine("/proc/sys/net/core/bpf_jit_enable"), k.Config)
	return k
}

// jit prefers the sysctl, which only the host's own network namespace shows.
func jit(sysctl string, config map[string]string) *bool {
	var on bool
	switch {
	case sysctl != "":
		on = sysctl != "0"
	case config["CONFIG_BPF_JIT_ALWAYS_ON"] == "y":
		on = true
	case config != nil && config["CONFIG_BPF_JIT"] == "":
		on = false
	default:
		return nil
	}
	return &on
}

// readConfig returns nil where no file is to be had.
func readConfig(files ...string) map[string]string {
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		config, err := parseConfig(f, strings.HasSuffix(name, ".gz"))
		f.Close()
		if err == nil {
			return config
		}
	}
	return nil
}

func parseConfig(r io.Reader, packed bool) (map[string]string, error) {
	if packed {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		r = z
	}
	want := map[string]bool{}
	for _, k := range configKeys {
		want[k] = true
	}
	config := map[string]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok && want[key] {
			config[key] = value
		}
	}
	return config, lines.Err()
}

// readLine returns a small file without its end of line, or "" if it cannot be read.
func readLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
