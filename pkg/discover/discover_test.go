package discover

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server serves one list, and counts how it was asked.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	handle   http.HandlerFunc // instead of the list; nil: the list
	list     string
	whole    atomic.Int64 // answers with the list
	notAgain atomic.Int64 // answers 304
}

func serve(t *testing.T, list string) *server {
	s := &server{list: list}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		handle, list := s.handle, s.list
		s.mu.Unlock()
		etag := fmt.Sprintf(`"%x"`, len(list))
		switch {
		case handle != nil:
			handle(w, r)
		case r.Header.Get("If-None-Match") == etag:
			w.WriteHeader(http.StatusNotModified)
			s.notAgain.Add(1)
		default:
			w.Header().Set("ETag", etag)
			_, _ = w.Write([]byte(list))
			s.whole.Add(1)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) say(list string, handle http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list, s.handle = list, handle
}

func (s *server) source() Source {
	return Source{Name: s.URL, URL: s.URL, Interval: 20 * time.Millisecond}
}

// check takes what begins with a brace for a list.
func check(_ string, data []byte) error {
	if !bytes.HasPrefix(data, []byte("{")) {
		return errors.New("no list")
	}
	return nil
}

func newLists(t *testing.T, o Options) (*Lists, *atomic.Int64) {
	var changes atomic.Int64
	o.Check, o.Log = check, slog.New(slog.DiscardHandler)
	o.Changed = func() { changes.Add(1) }
	l := New(o)
	t.Cleanup(l.Close)
	return l, &changes
}

func eventually(t *testing.T, ok func() bool, what string) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, 5*time.Millisecond, what)
}

func (l *Lists) fault(name string) string {
	s, _ := l.State(name)
	return s.Fault
}

// A list is loaded once, asked for again without being sent again, and whatever goes wrong leaves it.
func TestListOfAServer(t *testing.T) {
	s := serve(t, `{"a": 1}`)
	l, changes := newLists(t, Options{})
	l.Use("", []Source{s.source()})
	eventually(t, func() bool { return s.notAgain.Load() > 2 }, "304")
	require.EqualValues(t, 1, s.whole.Load())
	require.EqualValues(t, 1, changes.Load())
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		says   string
	}{
		"gone": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, "answers 404 Not Found"},
		"HTML": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>log in</html>") }, "no list"},
		"announced": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10485760")
			w.WriteHeader(http.StatusOK)
		},
			"10485760 octets, and a list has 8388608 at most"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for range 10 << 10 {
				if _, err := fmt.Fprint(w, "{"+strings.Repeat(" ", 1023)); err != nil {
					return
				}
			}
		}, "more than 8388608 octets"},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "{")
		}, "unexpected EOF"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/l", http.StatusFound)
		}, "redirected to http://192.0.2.1, which is not https"},
		"in a ring": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, s.URL+"/x", http.StatusFound) }, "more than 3 redirects"},
	} {
		s.say("", c.handle)
		eventually(t, func() bool { return strings.Contains(l.fault(s.URL), c.says) }, name+": "+c.says)
		require.Equal(t, `{"a": 1}`, string(l.Contents("", s.URL)), name)
		eventually(t, func() bool { st, _ := l.State(s.URL); return st.Stale }, "stale")
	}
	require.EqualValues(t, 1, changes.Load())
	s.say(`{"b": 22}`, nil)
	eventually(t, func() bool { return changes.Load() == 2 }, "a new list")
	require.Equal(t, `{"b": 22}`, string(l.Contents("", s.URL)))
	require.Empty(t, l.fault(s.URL))
	s.Close()
	eventually(t, func() bool { return strings.Contains(l.fault(s.URL), "refused") }, "server gone")
	require.Equal(t, `{"b": 22}`, string(l.Contents("", s.URL)))
}

// Only what was taken is kept, and a start without the server has it; what is damaged is nothing.
func TestCopyOfAList(t *testing.T) {
	s := serve(t, `{"a": 1}`)
	dir := t.TempDir() + "/state"
	l, changes := newLists(t, Options{})
	l.Use(dir, []Source{s.source()})
	eventually(t, func() bool { return changes.Load() == 1 }, "the list")
	require.NoDirExists(t, dir)
	l.Taken(s.URL, []byte("another"))
	require.NoDirExists(t, dir)
	l.Taken(s.URL, l.Contents(dir, s.URL))
	st, err := os.Stat(copyPath(dir, s.URL))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode())
	s.say(`{"short": 1}`, nil)
	eventually(t, func() bool { return changes.Load() == 2 }, "the next list")
	l.Close()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1)

	// The one that was not taken is asked for again, and that which was is there meanwhile.
	l, changes = newLists(t, Options{})
	require.Equal(t, `{"a": 1}`, string(l.Contents(dir, s.URL)))
	s.say("", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	l.Use(dir, []Source{s.source()})
	eventually(t, func() bool { return l.fault(s.URL) != "" }, "503")
	require.Equal(t, `{"a": 1}`, string(l.Contents(dir, s.URL)))
	state, _ := l.State(s.URL)
	require.False(t, state.Good.IsZero())
	s.say(`{"a": 1}`, nil)
	before := s.notAgain.Load()
	eventually(t, func() bool { return s.notAgain.Load() > before }, "304 after a restart")
	require.Zero(t, changes.Load())
	l.Close()

	whole, err := os.ReadFile(copyPath(dir, s.URL))
	require.NoError(t, err)
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 1
		require.NoError(t, os.WriteFile(copyPath(dir, s.URL), bad, 0o600))
		c, err := readCopy(dir, s.URL)
		if err == nil { // a bit of the ETag
			require.Equal(t, `{"a": 1}`, string(c.data))
			continue
		}
		require.Nil(t, c.data)
		require.NoError(t, os.WriteFile(copyPath(dir, s.URL), whole[:i], 0o600))
		_, err = readCopy(dir, s.URL)
		require.Error(t, err)
	}
	require.Nil(t, l.Contents("", s.URL))
}

// A server of HTTPS is believed by its certificate, has the token, and leads to no other scheme.
func TestListByHTTPS(t *testing.T) {
	s := serve(t, "")
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer t0ken":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/down":
			http.Redirect(w, r, s.URL, http.StatusFound)
		default:
			fmt.Fprint(w, "{}")
		}
	}))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(secure.Close)
	ca := t.TempDir() + "/ca.pem"
	require.NoError(t, os.WriteFile(ca, pemOf(secure.Certificate().Raw), 0o600))
	once := func(change func(*Source)) error {
		src := Source{Name: "l", URL: secure.URL, CA: ca, Token: "t0ken"}
		change(&src)
		_, err := Once(t.Context(), src, Options{Check: check})
		return err
	}
	require.NoError(t, once(func(*Source) {}))
	require.ErrorContains(t, once(func(s *Source) { s.CA = "" }), "certificate")
	require.ErrorContains(t, once(func(s *Source) { s.CA = os.DevNull }), "no certificate in it")
	require.ErrorContains(t, once(func(s *Source) { s.Token = "other" }), "answers 401")
	require.ErrorContains(t, once(func(s *Source) { s.URL += "/down" }), "which is not https")
	require.ErrorContains(t, once(func(s *Source) { s.URL = "http://192.0.2.1/" }), "neither https")
	require.Zero(t, s.whole.Load())
}

// What is configured anew goes on with what was known, and what is no source any more ends.
func TestSourcesChange(t *testing.T) {
	s := serve(t, "{}")
	l, changes := newLists(t, Options{})
	src := s.source()
	l.Use("", []Source{src})
	eventually(t, func() bool { return changes.Load() == 1 }, "the list")
	src.Interval = time.Hour
	l.Use("", []Source{src})
	require.Equal(t, "{}", string(l.Contents("", s.URL)))
	l.Use("", nil)
	_, known := l.State(s.URL)
	require.False(t, known)
	require.Nil(t, l.Contents("", s.URL))
	require.EqualValues(t, 1, changes.Load())
}
