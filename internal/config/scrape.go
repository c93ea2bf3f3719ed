package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Scrape is what `llama-agent scrape` asks.
type Scrape struct {
	Targets  []Collector
	Interval time.Duration
	Timeout  time.Duration // of one request
	Parallel int           // requests at once
	MaxBytes int64         // of an answer
	Tag      string        // that names the collector in its points; "": none
}

// Collector is one that serves /influxdata.
type Collector struct {
	Name string // as the file has it
	URL  string
}

// collectorPort is that of the API, of Dropbox's collectors and ours.
const collectorPort = "5000"

func scrapeFields(s *Scrape) []field {
	return []field{
		listOf("targets", &s.Targets, parseCollector),
		scalar("interval", &s.Interval, duration(time.Second, day)),
		scalar("timeout", &s.Timeout, duration(10*time.Millisecond, 5*time.Minute)),
		scalar("parallel", &s.Parallel, integer(1, 1024)),
		scalar("max_size", &s.MaxBytes, size[int64](1<<10, 1<<30)),
		scalar("tag", &s.Tag, nameText),
	}
}

// parseCollector reads HOST, HOST:PORT, or the URL of what answers as a collector.
func parseCollector(s string) (Collector, error) {
	c := Collector{Name: s}
	if err := checkText(s); err != nil {
		return c, err
	}
	if strings.Contains(s, "://") {
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
			return c, errors.New("is not a URL as http://collector:5000/influxdata") // unquoted: it may hold a password
		case u.User != nil || u.RawQuery != "" || u.Fragment != "":
			return Collector{}, errors.New("holds a user, a query or a fragment: collectors know of none")
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = "/influxdata"
		}
		c.Name, c.URL = u.Host, u.String()
		return c, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, collectorPort
	}
	if _, err := parsePort(port); err != nil {
		return c, fmt.Errorf("port %w", err)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.WithZone("").String() // a URL's zone is not for Host headers
	} else if _, err := parseAddress(host); err != nil {
		return c, err
	}
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: "/influxdata"}
	c.URL = u.String()
	return c, nil
}
