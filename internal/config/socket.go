package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"time"
)

// SocketSink writes to a socket, such as Telegraf's socket_listener.
type SocketSink struct {
	Address  string // as Telegraf's service_address
	Timeout  time.Duration
	Datagram int // octets of a datagram at most
}

func (d *decoder) socketFields(s *SocketSink) []field {
	return []field{
		scalar("address", &s.Address, parseSocketAddress),
		scalar("timeout", &s.Timeout, duration(10*time.Millisecond, 5*time.Minute)),
		scalar("datagram", &s.Datagram, integer(512, 65_507)),
	}
}

var errSocketAddress = errors.New("is not an address as tcp://127.0.0.1:8094, udp://127.0.0.1:8094, " +
	"unix:///run/telegraf.sock or unixgram:///run/telegraf.sock")

func parseSocketAddress(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return "", errSocketAddress
	}
	switch u.Scheme {
	case "tcp", "udp":
		if u.Hostname() == "" || u.Port() == "" || u.Path != "" {
			return "", errSocketAddress
		}
		if _, err := parsePort(u.Port()); err != nil {
			return "", fmt.Errorf("port %w", err)
		}
	case "unix", "unixgram":
		if u.Host != "" || !path.IsAbs(u.Path) {
			return "", errSocketAddress
		}
	default:
		return "", errSocketAddress
	}
	return s, nil
}
