package sink

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// hostSet holds the names by which the API may be called, in lower case.
type hostSet map[string]bool

func newHostSet(names []string) hostSet {
	s := hostSet{"localhost": true}
	for _, n := range names {
		if host := hostOf(n); host != "" {
			s[host] = true
		}
	}
	return s
}

// allows reports whether a Host header may ask. A page that had its own name
// rebound to this host's address sends that name here; a page cannot send
// an IP literal or a name of ours unless it came from there.
func (s hostSet) allows(header string) bool {
	host := hostOf(header)
	if host == "" {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return s[host]
}

// hostOf is the host of HOST, HOST:PORT, [V6] or [V6]:PORT; "" if it is none.
func hostOf(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	} else if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// guard refuses what no client of ours sends: foreign Host names, pages of other
// origins, anything but reading.
func guard(hosts hostSet, next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		head := rw.Header()
		head.Set("Cache-Control", "no-store")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Cross-Origin-Resource-Policy", "same-origin")
		switch {
		case !hosts.allows(r.Host):
			http.Error(rw, "this name is not one of the agent's: use its address", http.StatusForbidden)
		case !sameOrigin(r):
			http.Error(rw, "requests of other origins are refused", http.StatusForbidden)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			head.Set("Allow", "GET, HEAD")
			http.Error(rw, "read only", http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(rw, r)
		}
	})
}

// sameOrigin reports whether r came from no page at all or from a page of ours.
func sameOrigin(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && len(origins) == 1 && (u.Scheme == "http" || u.Scheme == "https") &&
		u.User == nil && strings.EqualFold(u.Host, r.Host)
}

// carries reports whether r has the bearer token (RFC 6750, section 2.1). Digests are compared, in constant
// time: how long it takes tells nothing of the token, nor of its length.
func carries(r *http.Request, token string) bool {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return false
	}
	scheme, given, _ := strings.Cut(values[0], " ")
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(strings.TrimLeft(given, " ")))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}
