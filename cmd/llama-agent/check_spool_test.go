package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/hostinfo"
)

func TestSpoolInWords(t *testing.T) {
	const gib = 1 << 30
	good := hostinfo.Folder{Path: "/v/spool", Exists: true, On: "/v/spool", UID: 7, Mode: 0o750, Writable: true, Free: 2 * gib, Used: 1}
	for name, c := range map[string]struct {
		bend  func(*hostinfo.Folder)
		mends []string // none: nothing is wrong
		says  string
	}{
		"good":           {func(*hostinfo.Folder) {}, nil, "/v/spool is there: it holds 1 KiB, may come to 2048 MiB (2 sinks), and 2048 MiB are free"},
		"to be made":     {func(f *hostinfo.Folder) { f.Exists, f.On, f.UID, f.Mode = false, "/v", 0, 0o1777 }, nil, "/v/spool can be made: "},
		"its own counts": {func(f *hostinfo.Folder) { f.Free, f.Used = gib, gib }, nil, "holds 1024 MiB"},
		"root's folder":  {func(f *hostinfo.Folder) { f.Writable, f.UID = false, 0 }, []string{"install -d -o 7 -m 0750 /v/spool", "chown -R 7 /v/spool"}, "uid 7 may not write to /v/spool"},
		"read-only":      {func(f *hostinfo.Folder) { f.Writable, f.ReadOnly = false, true }, []string{"can be written to"}, "read-only"},
		"tmpfs":          {func(f *hostinfo.Folder) { f.InMemory = true }, []string{"on a disk"}, "does not outlive a boot"},
		"no room":        {func(f *hostinfo.Folder) { f.Free = gib }, []string{"spool.max_size: 512MiB"}, "may need 2048 MiB (spool.max_size, of each of 2 sinks), holds 1 KiB, and 1024 MiB are free"},
		"open":           {func(f *hostinfo.Folder) { f.Mode = 0o1777 }, []string{"chmod o-w /v/spool"}, "open to all users (mode 1777)"},
		"another's":      {func(f *hostinfo.Folder) { f.UID = 8 }, []string{"chown -R 7 /v/spool"}, "belongs to uid 8, and this process is uid 7"},
	} {
		f := good
		c.bend(&f)
		got := spoolFindings(f, 2, gib, 7)
		require.Len(t, got, max(1, len(c.mends)), name)
		require.Contains(t, got[0].Detail, c.says, name)
		require.Equal(t, len(c.mends) == 0, got[0].OK, name)
		for i, mend := range c.mends {
			require.Contains(t, got[i].Mend, mend, name)
		}
	}
}

// Only what is pushed waits.
func TestSpoolIsForWhatIsPushed(t *testing.T) {
	of := func(text string) []finding {
		cfg, err := config.Parse("test.yaml", []byte("host: {name: h}\n"+text))
		require.NoError(t, err)
		return checkSpool(cfg)
	}
	const push = "sinks: [{socket: {address: 'tcp://127.0.0.1:1'}}]\n"
	require.Empty(t, of("sinks: [{stdout: {}}]\nspool: {path: /proc/no/such}\n"))
	require.Contains(t, of(push)[0].Mend, "spool.path")
	bad := of(push + "spool: {path: /proc/version/spool}\n")
	require.Len(t, bad, 1)
	require.False(t, bad[0].OK)
	require.Contains(t, bad[0].Detail, "/proc/version/spool cannot be: ")
}
