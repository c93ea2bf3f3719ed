//go:build linux

package servers

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// write posts one line.
func write(t *testing.T, s *Server, path, token, line string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.URL+path, bytes.NewBufferString(line))
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Token "+token)
	}
	resp, err := s.Client().Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
}

// badly freezes, kills and starts a server, which has to come back where it was.
func badly(s *Server) {
	s.Freeze()
	s.Thaw()
	s.Kill()
	s.Start()
}

// TestServers: each takes a line, is frozen and killed, comes back on the same port with what it had, and takes more.
func TestServers(t *testing.T) {
	at := time.Now().Add(-time.Minute).Truncate(time.Second)
	line := func(v int) string {
		return fmt.Sprintf("m,k=a v=%di %d\n", v, at.Add(time.Duration(v)*time.Second).UnixNano())
	}
	t.Run("influx16", func(t *testing.T) {
		s := NewInflux16(t, nil)
		s.Query("", "CREATE DATABASE d")
		write(t, s.Server, "/write?db=d", "", line(1))
		badly(s.Server)
		write(t, s.Server, "/write?db=d", "", line(2))
		require.Equal(t, []map[string]any{
			{"time": fmt.Sprint(at.Add(time.Second).UnixNano()), "k": "a", "v": "1"},
			{"time": fmt.Sprint(at.Add(2 * time.Second).UnixNano()), "k": "a", "v": "2"},
		}, s.Query("d", "SELECT * FROM m"))
	})
	t.Run("influx18", func(t *testing.T) {
		s := NewInflux18(t, nil, "")
		s.Query("", "CREATE DATABASE d")
		write(t, s.Server, "/api/v2/write?org=o&bucket=d/autogen", "u:p", line(1))
		badly(s.Server)
		write(t, s.Server, "/api/v2/write?org=o&bucket=d", "u:p", line(2))
		require.Len(t, s.Query("d", "SELECT v FROM m"), 2)
	})
	t.Run("victoria", func(t *testing.T) {
		s := NewVictoria(t, nil)
		write(t, s.Server, "/write?db=d", "", line(1))
		s.Sync()
		badly(s.Server)
		write(t, s.Server, "/api/v2/write?db=d", "", line(2))
		series := s.Export("m_v")
		require.Len(t, series, 1)
		require.Equal(t, map[string]string{"__name__": "m_v", "db": "d", "k": "a"}, series[0].Metric)
		require.Equal(t, []float64{1, 2}, series[0].Values)
	})
	t.Run("telegraf", func(t *testing.T) {
		g := NewTelegraf(t, nil, "[[inputs.socket_listener]]\nservice_address = \"tcp://%s\"\ndata_format = \"influx\"\n", "Listening on")
		send := func(v int) {
			c, err := net.Dial("tcp", g.Addr)
			require.NoError(t, err)
			_, err = c.Write([]byte(line(v)))
			require.NoError(t, err)
			require.NoError(t, c.Close())
			require.Eventually(t, func() bool { return len(g.Lines()) == v }, 30*time.Second, 10*time.Millisecond)
		}
		send(1)
		badly(g.Server)
		send(2)
		require.Equal(t, line(1)+line(2), g.Lines()[0]+"\n"+g.Lines()[1]+"\n")
	})
	t.Run("prometheus", func(t *testing.T) {
		s := NewPrometheus(t, nil, "scrape_configs: []\n")
		badly(s.Server)
		require.Contains(t, string(s.Get("/api/v1/query", map[string][]string{"query": {"vector(1)"}})), `"success"`)
	})
}
