package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// API is the HTTP server.
type API struct {
	Listen   string   // "": no server
	Hosts    []string // names in requests, beside addresses, localhost, those of Listen and host.name
	Token    Secret   // what /probe asks for; "": nothing
	ProbeAny bool     // /probe measures targets that are not configured, for who has the token
}

func (d *decoder) apiField(a *API) field {
	f := section("api",
		scalar("listen", &a.Listen, parseAPIListen),
		listOf("hosts", &a.Hosts, parseAddress),
		scalar("token_file", &a.Token, fromFile(d, token(readSecret))),
		scalar("token_env", &a.Token, token(secretFromEnv)),
		scalar("probe_any", &a.ProbeAny, boolean),
	)
	read := f.read
	f.read = func(v value) {
		read(v)
		onlyOne(v, "token_file", "token_env")
	}
	return f
}

// minToken is octets: a shorter one could be guessed by asking.
const minToken = 16

// bearerToken is what a header can carry (RFC 6750, section 2.1).
var bearerToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// token takes a secret that a request can carry. It never quotes what it reads.
func token(read func(string) (Secret, error)) func(string) (Secret, error) {
	return func(s string) (Secret, error) {
		t, err := read(s)
		if err == nil && (len(t) < minToken || !bearerToken.MatchString(string(t))) {
			return "", fmt.Errorf("what %s holds is not %d or more of A-Z, a-z, 0-9 and -._~+/, as `openssl rand -hex 32` gives them", show(s), minToken)
		}
		return t, err
	}
}

func (c *Config) checkAPI(report finding) {
	switch where := at("api.probe_any", "api.token_file", "api.token_env"); {
	case !c.API.ProbeAny:
	case c.API.Token == "":
		report.error(where, "true needs a token, or whoever reaches the API could aim probes: set token_file or token_env")
	case c.API.Listen == "":
		report.warn(where, `true has no effect without a server (api.listen: "")`)
	}
}

// ParseTarget reads what is to be probed without being configured: HOST, HOST:PORT, an IPv6 address,
// or [IPv6]:PORT. An address comes out in its usual form, that of IPv4 where it is one.
func ParseTarget(s string) (probe.Target, error) {
	t := newTarget(s)
	host := s
	if _, err := netip.ParseAddr(s); err != nil && strings.ContainsAny(s, ":[") {
		h, port, err := net.SplitHostPort(s)
		if err != nil {
			return t, fmt.Errorf("%s is not HOST, HOST:PORT or [IPV6]:PORT", show(s))
		}
		if t.Port, err = parsePort(port); err != nil {
			return t, fmt.Errorf("%s has no port from 1 to 65535", show(s))
		}
		host = h
		if a, _ := netip.ParseAddr(h); a.Is6() != strings.HasPrefix(s, "[") {
			return t, fmt.Errorf("%s is not HOST, HOST:PORT or [IPV6]:PORT", show(s))
		}
	}
	if strings.Contains(host, "%") {
		return t, fmt.Errorf("%s has a zone: configure such a target", show(host))
	}
	if _, err := parseAddress(host); err != nil {
		return t, err
	}
	t.Address = usualForm(host)
	return t, nil
}
