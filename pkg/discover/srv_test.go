package discover

import (
	"context"
	"encoding/pem"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// answerSRV is a name server on loopback that knows one service; records nil: it knows no name.
func answerSRV(t *testing.T, records func() []dnsmessage.SRVResource) *net.Resolver {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { c.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Additionals = true, nil
			all := records()
			if all == nil {
				m.RCode = dnsmessage.RCodeNameError
			}
			for i := range all {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &all[i]})
			}
			out, err := m.Pack()
			if err == nil {
				_, _ = c.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", c.LocalAddr().String())
	}}
}

func TestListOfDNS(t *testing.T) {
	srv := func(host string, port uint16) dnsmessage.SRVResource {
		return dnsmessage.SRVResource{Priority: 1, Weight: 1, Port: port, Target: dnsmessage.MustNewName(host)}
	}
	answers := make(chan []dnsmessage.SRVResource, 1)
	var now []dnsmessage.SRVResource
	r := answerSRV(t, func() []dnsmessage.SRVResource {
		select {
		case now = <-answers:
		default:
		}
		return now
	})
	answers <- []dnsmessage.SRVResource{srv("B.example.net.", 862), srv("a.example.net.", 8620), srv("b.example.net.", 862), srv("two.example.net.", 1), srv("two.example.net.", 2), srv(".", 5)}
	l, changes := newLists(t, Options{Resolver: r})
	const name = "_llama._udp.example.net."
	l.Use("", []Source{{Name: name, Interval: 20 * time.Millisecond}})
	eventually(t, func() bool { return changes.Load() == 1 }, "the records")
	require.JSONEq(t, `{"a.example.net": {"address": "a.example.net.", "port": 8620}, "b.example.net": {"address": "b.example.net.", "port": 862},
		"two.example.net:1": {"address": "two.example.net.", "port": 1}, "two.example.net:2": {"address": "two.example.net.", "port": 2}}`, string(l.Contents("", name)))
	answers <- nil
	eventually(t, func() bool { return l.fault(name) != "" }, "no such name")
	require.Contains(t, l.fault(name), "look up SRV: ")
	require.Contains(t, string(l.Contents("", name)), "two.example.net:1", "a failure takes nothing away")
	answers <- []dnsmessage.SRVResource{srv("c.example.net.", 862)}
	eventually(t, func() bool { return changes.Load() == 2 }, "other records")
	require.JSONEq(t, `{"c.example.net": {"address": "c.example.net.", "port": 862}}`, string(l.Contents("", name)))
}
