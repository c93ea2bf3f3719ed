package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

const listInterval = 5 * time.Minute

func (d *decoder) urlFields(l *URLList) []field {
	return []field{
		scalar("url", &l.URL, parseListURL),
		scalar("ca_file", &l.CA, d.path),
		scalar("token_file", &l.Token, fromFile(d, readSecret)),
		scalar("interval", &l.Interval, duration(time.Second, day)),
	}
}

func srvFields(l *SRVList) []field {
	return []field{
		scalar("name", &l.Name, parseService),
		{key: "tags", read: func(v value) {
			l.Tags = map[string]string{}
			readTags(v, l.Tags, targetSettings()...)
		}},
		scalar("interval", &l.Interval, duration(time.Second, day)),
	}
}

// parseListURL takes what nobody between us and the server can change.
func parseListURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || checkText(s) != nil:
		return "", errors.New("is not a URL as https://inventory.example.net/targets.yaml") // unquoted: it may hold a password
	case u.User != nil:
		return "", errors.New("holds a user: write token_file")
	case u.Scheme == "https":
		return s, nil
	}
	a, err := netip.ParseAddr(u.Hostname())
	if u.Scheme != "http" || !(err == nil && a.IsLoopback() || u.Hostname() == "localhost") {
		return "", errors.New("is neither https, nor http to a loopback address: whoever is on the way could aim the agent")
	}
	return s, nil
}

// parseService takes a name as _llama._udp.example.net.
func parseService(s string) (string, error) {
	if _, err := parseAddress(s); err != nil || len(strings.Split(strings.TrimSuffix(s, "."), ".")) < 3 || s[0] != '_' {
		return "", fmt.Errorf("%s is not the name of a service, as _llama._udp.example.net", show(s))
	}
	return s, nil
}

func (d *decoder) urlLists(v value) {
	for _, item := range v.list() {
		l := URLList{Interval: listInterval}
		item.section(d.urlFields(&l))
		if !item.sets("url") {
			item.problem("has no url")
		}
		d.cfg.TargetsFrom.URLs = append(d.cfg.TargetsFrom.URLs, l)
		d.elsewhere(item, l.URL)
	}
}

func (d *decoder) srvLists(v value) {
	for _, item := range v.list() {
		l := SRVList{Interval: listInterval}
		item.section(srvFields(&l))
		if !item.sets("name") {
			item.problem("has no name: which service")
		}
		d.cfg.TargetsFrom.SRV = append(d.cfg.TargetsFrom.SRV, l)
		d.elsewhere(item, l.Name)
	}
}

// elsewhere complains of a source that is given twice, and of too many.
func (d *decoder) elsewhere(item value, source string) {
	from := &d.cfg.TargetsFrom
	var before []string
	for _, l := range from.URLs {
		before = append(before, l.URL)
	}
	for _, l := range from.SRV {
		before = append(before, l.Name)
	}
	switch first := slices.Index(before, source); {
	case source != "" && slices.Contains(before[first+1:], source):
		item.problem("given twice: remove one")
	case len(from.URLs)+len(from.SRV) == maxElsewhere+1:
		item.problem("more than %d lists elsewhere", maxElsewhere)
	}
}
