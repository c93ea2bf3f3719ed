//go:build linux

package servers

import (
	"testing"
)

// Prometheus scrapes, and answers queries.
type Prometheus struct{ *Server }

// NewPrometheus starts Prometheus with a configuration file. place nil is this host.
func NewPrometheus(t testing.TB, place Place, config string) *Prometheus {
	t.Helper()
	s := newServer(t, place, "prometheus")
	s.args = append(s.args, "--config.file="+s.file("prometheus.yml", config), "--storage.tsdb.path="+s.Dir+"/data",
		"--web.listen-address="+s.Addr, "--enable-feature=native-histograms", "--log.level=warn")
	s.ready = s.answers("/-/ready")
	s.Start()
	return &Prometheus{s}
}
