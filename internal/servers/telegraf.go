//go:build linux

package servers

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Telegraf writes what its inputs take to a file.
type Telegraf struct {
	*Server
	Output string // lines of line protocol, fields by name
}

// NewTelegraf starts Telegraf with inputs, in which %s is the server's Addr. It is ready once its log has the text.
// place nil is this host.
func NewTelegraf(t testing.TB, place Place, inputs, ready string) *Telegraf {
	t.Helper()
	s := newServer(t, place, "telegraf")
	g := &Telegraf{Server: s, Output: s.Dir + "/lines"}
	conf := s.file("telegraf.conf", fmt.Sprintf(`[agent]
omit_hostname = true
flush_interval = "100ms"
metric_batch_size = 5000
metric_buffer_limit = 1000000
[[outputs.file]]
files = [%q]
data_format = "influx"
influx_sort_fields = true
`, g.Output)+strings.ReplaceAll(inputs, "%s", s.Addr))
	s.args = append(s.args, "--config", conf)
	s.ready = s.logged(ready)
	s.Start()
	return g
}

// Lines is what has been written so far: none before the first.
func (g *Telegraf) Lines() []string {
	g.t.Helper()
	b, err := os.ReadFile(g.Output)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(g.t, err)
	text := strings.TrimSuffix(string(b), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
