//go:build linux

package e2e

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestCheckSaysWhatEndsRun: what run does not begin with, check does not pass.
func TestCheckSaysWhatEndsRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const begin = "api: {listen: ''}\ndatapath: {mode: socket}\n"
	for name, c := range map[string]struct{ config, last string }{
		"an address that is not here": {`datapath: {mode: socket}
api: {listen: "203.0.113.77:5000"}`, "the API cannot listen as configured"},
		"no folder for the file": {begin + "sinks: [{file: {path: " + dir + "/no/file}}]", "a sink cannot be had as configured"},
		"a folder for the file":  {begin + "sinks: [{file: {path: " + dir + "}}]", "a sink cannot be had as configured"},
		"no certificates": {begin + "sinks: [{influx: {url: 'https://127.0.0.1:9', database: x, ca_file: " + dir + "/no}}]",
			"a sink cannot be had as configured"},
		"a step that is not there": {"api: {listen: ''}\ndatapath: {mode: native, interfaces: [lo], pin: " + newPin() + "}", "datapath.mode: native cannot be had"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "c.yaml")
			require.NoError(t, os.WriteFile(file, []byte("reflector: {listen: [\"127.0.0.1:48622\"]}\n"+c.config+"\n"), 0o600))
			out, status := once(t, "check", "--config", file)
			require.Equal(t, 2, status, out)
			require.Contains(t, out, "llama-agent: the agent would not run: "+c.last)
			require.Contains(t, out, "mend: ")
			out, status = once(t, "run", "--config", file)
			require.Equal(t, 2, status, out)
		})
	}
}

// TestCheckMakesNoFile, and takes an API that is served already for the agent's own.
func TestCheckMakesNoFile(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	path := filepath.Join(t.TempDir(), "lines")
	all := checkIn(t, nil, "api: {listen: '"+l.Addr().String()+"'}\nsinks: [{file: {path: "+path+"}}]\n")
	require.NoFileExists(t, path)
	require.True(t, find(all, "sink", "")[0].OK)
	api := find(all, "api", "")[0]
	require.False(t, api.OK)
	require.Contains(t, api.Mend, "if that is not the agent")
}

// TestCheckWithoutAConfiguration: run takes another port where 862 is not allowed.
func TestCheckWithoutAConfiguration(t *testing.T) {
	drop := func() error { return unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_BIND_SERVICE, 0, 0, 0) }
	restricted(t, drop, func() {
		out, status := once(t, "check")
		require.Zero(t, status, out)
	})
}
