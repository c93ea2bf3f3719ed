//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// listServer serves one list on a host's loopback address, and counts how it was asked.
type listServer struct {
	*http.Server
	url             string
	mu              sync.Mutex // protects the fields below
	list            string
	whole, notAgain int
}

func serveList(t testing.TB, h *lab.Host, list string) *listServer {
	s := &listServer{list: list}
	s.Server = &http.Server{Handler: s}
	require.NoError(t, h.Do(func() error {
		l, err := net.Listen("tcp", "127.0.0.1:0") // of this host, whatever thread accepts
		if err == nil {
			s.url = "http://" + l.Addr().String() + "/targets.yaml"
			go s.Serve(l) //nolint:errcheck // it ends when it is closed
		}
		return err
	}))
	t.Cleanup(func() { s.Close() })
	return s
}

func (s *listServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	etag := fmt.Sprintf(`"%x"`, len(s.list))
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		s.notAgain++
		w.WriteHeader(http.StatusNotModified)
		return
	}
	s.whole++
	_, _ = w.Write([]byte(s.list))
}

func (s *listServer) say(list string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = list
}

func (s *listServer) asked() (whole, notAgain int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.whole, s.notAgain
}

// becomes waits until an own field of the agent has a value.
func (r *running) becomes(t testing.TB, field string, value int64) (own map[string]int64) {
	t.Helper()
	eventually(t, func() bool {
		own = r.own(t)
		v, ok := own[field]
		return ok && v == value
	}, "%s is %d", field, value)
	return own
}

// TestListByURL: a list of a server is followed, whatever is no list leaves it as it was, one that names one victim
// 500 times aims no more at it than one target may have and nothing at what is not allowed, one that shrank is held
// back, and without the server a start has the last one.
func TestListByURL(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 3)
	h, victim := l.Host(1), l.Host(3)
	reflect(t, l.Host(2))
	const one, mostPerTarget = "one: {address: 10.77.2.2}\n", 300
	s := serveList(t, h, one)
	from := fmt.Sprintf("targets_from: {urls: [{url: %q, interval: 1s}], state: %s}\n", s.url, filepath.Join(t.TempDir(), "lists"))
	r := runProbing(t, h, fmt.Sprintf(", allow: [10.77.0.0/16], max_rate: 100000, max_rate_per_target: %d", mostPerTarget), from)
	own := r.becomes(t, "config_targets_listed", 1)
	eventually(t, func() bool { _, n := s.asked(); return n > 1 }, "304")
	whole, _ := s.asked()
	require.Equal(t, 1, whole)
	require.Equal(t, own["config_reloads_done"], r.own(t)["config_reloads_done"], "304 loads nothing")

	s.say("<!DOCTYPE html><html>log in</html>")
	own = r.becomes(t, "config_lists_faulty", 1)
	require.EqualValues(t, 1, own["config_targets_listed"])
	r.logs(t, "is HTML or XML")
	s.say("#" + strings.Repeat("x", 10<<20))
	r.logs(t, "read list: more than 8388608 octets")

	s.say(one + "two: {address: 10.77.2.2, port: 8620, rack: \"1\\n2\"}\n")
	own = r.becomes(t, "config_lists_refused", 1)
	require.EqualValues(t, 1, own["config_targets_listed"])
	require.Zero(t, own["config_lists_faulty"])

	aimed, err := l.Fabric().Count(lab.Rule{From: h, To: victim})
	require.NoError(t, err)
	tap, err := l.Fabric().Tap(h)
	require.NoError(t, err)
	var hijacked strings.Builder
	hijacked.WriteString(one)
	for i := range 500 {
		fmt.Fprintf(&hijacked, "v%d: {address: %s, port: %d}\nfar%d: {address: 203.0.113.%d}\n", i, victim.IPv4, 1024+i, i, i%250+1)
	}
	begin := time.Now()
	s.say(hijacked.String())
	own = r.becomes(t, "config_targets_listed", 501)
	require.EqualValues(t, 500, own["config_lists_refused"])
	r.becomes(t, "targets_not_probed", 497)
	time.Sleep(2 * time.Second)
	packets, _, err := aimed.Count()
	took := time.Since(begin)
	require.NoError(t, err)
	t.Logf("%d packets to the victim in %s", packets, took)
	require.NotZero(t, packets)
	require.LessOrEqual(t, float64(packets), mostPerTarget*(took.Seconds()+1))
	records, err := tap.Stop()
	require.NoError(t, err)
	fabric := netip.MustParsePrefix("10.77.0.0/16")
	for _, p := range records {
		require.False(t, p.Direction == lab.FromHost && p.Dst.Addr().Is4() && !fabric.Contains(p.Dst.Addr()), "%v", p.Dst)
	}

	s.say(one)
	own = r.becomes(t, "config_lists_held_back", 1)
	require.EqualValues(t, 501, own["config_targets_listed"])
	_, body := r.get(t, "/status/lists")
	require.Contains(t, body, "names 1 targets, and 501 before")
	r.stop(t)
	require.NoError(t, s.Close())
	r.start(t)
	own = r.becomes(t, "config_lists_stale", 1)
	require.Equal(t, []int64{501, 1}, []int64{own["config_targets_listed"], own["config_lists_faulty"]})
	_, body = r.get(t, "/status/lists")
	require.Contains(t, body, `"stale":true`)
	r.stop(t)
}
