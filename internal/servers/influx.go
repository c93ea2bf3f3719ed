//go:build linux

package servers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// Influx is an InfluxDB 1.x.
type Influx struct{ *Server }

// NewInflux16 starts the InfluxDB 1.6 of Debian, whose only write API is /write. place nil is this host.
func NewInflux16(t testing.TB, place Place) *Influx { return newInflux(t, place, "influxd", "") }

// NewInflux18 starts InfluxDB 1.8, which has /api/v2/write too: organisation any, bucket DATABASE/POLICY, token
// USER:PASSWORD. http is more lines of its [http] section, such as `auth-enabled = true`.
func NewInflux18(t testing.TB, place Place, http string) *Influx {
	return newInflux(t, place, "influxd-1.8", http)
}

func newInflux(t testing.TB, place Place, program, http string) *Influx {
	t.Helper()
	s := newServer(t, place, program)
	conf := s.file("influxdb.conf", fmt.Sprintf(`reporting-disabled = true
bind-address = %q
[meta]
dir = %q
[data]
dir = %q
wal-dir = %q
[http]
bind-address = %q
log-enabled = false
%s
`, s.freeAddr(), s.Dir+"/meta", s.Dir+"/data", s.Dir+"/wal", s.Addr, http))
	s.args = append(s.args, "-config", conf)
	s.ready = s.answers("/ping")
	s.Start()
	return &Influx{s}
}

// Query runs InfluxQL and returns the rows of all series by column, times in nanoseconds, numbers as they were
// written; what is null is left out. Tags of `GROUP BY` are columns too.
func (s *Influx) Query(db, q string) []map[string]any {
	s.t.Helper()
	body := s.Post("/query", url.Values{"epoch": {"ns"}, "db": {db}, "q": {q}})
	var doc struct {
		Results []struct {
			Error  string
			Series []struct {
				Tags    map[string]string
				Columns []string
				Values  [][]any
			}
		}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	require.NoError(s.t, dec.Decode(&doc), string(body))
	require.Len(s.t, doc.Results, 1, string(body))
	require.Empty(s.t, doc.Results[0].Error)
	var rows []map[string]any
	for _, series := range doc.Results[0].Series {
		for _, v := range series.Values {
			row := map[string]any{}
			for k, tag := range series.Tags {
				row[k] = tag
			}
			for i, c := range series.Columns {
				if n, ok := v[i].(json.Number); ok {
					row[c] = n.String()
				} else if v[i] != nil {
					row[c] = v[i]
				}
			}
			rows = append(rows, row)
		}
	}
	return rows
}
