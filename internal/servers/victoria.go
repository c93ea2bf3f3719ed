//go:build linux

package servers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Victoria is a VictoriaMetrics, single node. What is written is found at once.
type Victoria struct{ *Server }

// NewVictoria starts VictoriaMetrics, with more flags if any. place nil is this host.
func NewVictoria(t testing.TB, place Place, flags ...string) *Victoria {
	t.Helper()
	s := newServer(t, place, "victoria-metrics")
	s.args = append(s.args, "-storageDataPath="+s.Dir+"/data", "-httpListenAddr="+s.Addr,
		"-search.latencyOffset=0s", "-inmemoryDataFlushInterval=1s", "-retentionPeriod=100y", "-loggerLevel=WARN")
	s.args = append(s.args, flags...)
	s.ready = s.answers("/health")
	s.Start()
	return &Victoria{s}
}

// Series is one series as it is stored. Timestamps are in milliseconds.
type Series struct {
	Metric     map[string]string
	Values     []float64
	Timestamps []int64
}

// Export returns what is stored of all series that match, such as `{__name__=~"llama_.*"}`, after it has seen to it
// that all that was accepted is searched.
func (v *Victoria) Export(match string) (list []Series) {
	v.t.Helper()
	v.Get("/internal/force_flush", nil)
	end := fmt.Sprint(time.Now().Add(time.Hour).Unix()) // by default the second that has begun
	dec := json.NewDecoder(bytes.NewReader(v.Get("/api/v1/export", url.Values{"match[]": {match}, "end": {end}})))
	for {
		var s Series
		err := dec.Decode(&s)
		if err == io.EOF {
			return list
		}
		require.NoError(v.t, err)
		list = append(list, s)
	}
}

// Sync sees to it that all that was accepted is on the disk: VictoriaMetrics answers before that, and kill -9 would
// take up to -inmemoryDataFlushInterval of it (1 s here, 5 s by default).
func (v *Victoria) Sync() {
	v.t.Helper()
	v.Get("/snapshot/create", nil)
}
