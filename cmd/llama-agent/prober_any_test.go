package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/pkg/sink"
)

// anyProber measures what it is asked to, with 10.0.0.0/8 and fd00::/8 allowed and some names known.
func anyProber(t *testing.T, probing string) *prober {
	t.Helper()
	t.Setenv("LLAMA_TEST_TOKEN", "0123456789abcdef")
	p := proberOf(t, "api: {probe_any: true, token_env: LLAMA_TEST_TOKEN}\nprobing: {allow: [10.0.0.0/8, 'fd00::/8']"+probing+"}\n")
	p.resolve = func(_ context.Context, network, host string) (addrs []netip.Addr, err error) {
		text, ok := map[string]string{"inside": "10.0.0.1", "dual": "fd00::1 10.0.0.1", "outside": "192.0.2.1", "both": "10.0.0.1 192.0.2.1",
			"both-families": "fd00::1 192.0.2.1", "mapped": "::ffff:192.0.2.1", "empty": ""}[host]
		if a, err := netip.ParseAddr(host); err == nil {
			text, ok = a.String(), true
		}
		if !ok {
			return nil, errors.New("no such name")
		}
		for s := range strings.FieldsSeq(text) {
			if a := netip.MustParseAddr(s); network == "ip" || network == "ip4" == a.Is4() {
				addrs = append(addrs, a)
			}
		}
		return addrs, nil
	}
	return p
}

// What is probed is the address that was judged, and all that a name leads to are judged.
func TestStrangersAreBoundedByAllow(t *testing.T) {
	for asked, want := range map[string]string{
		"10.0.0.7": "10.0.0.7:862", "10.0.0.7:8620": "10.0.0.7:8620", "fd00:0:0::7": "[fd00::7]:862", "[fd00::7]:1": "[fd00::7]:1", "::ffff:10.0.0.7": "10.0.0.7:862",
		"inside": "10.0.0.1:862", "inside:65535": "10.0.0.1:65535", "dual": "[fd00::1]:862",
	} {
		p := anyProber(t, "")
		got, err := p.stranger(t.Context(), p.cfg, asked)
		require.NoError(t, err, asked)
		require.Equal(t, want, netip.AddrPortFrom(netip.MustParseAddr(got.Address), got.Port).String(), asked)
	}
	p := anyProber(t, "")
	for _, asked := range []string{"192.0.2.1", "192.0.2.1:862", "outside", "both", "both-families", "mapped", "::ffff:192.0.2.1", "127.0.0.1", "::1"} {
		_, err := p.probe(t.Context(), sink.ProbeRequest{Target: asked, Trusted: true})
		require.ErrorIs(t, err, sink.ErrNotAllowed, asked)
		p.strangers.next = time.Time{}
	}
	v6 := anyProber(t, ", family: 6")
	got, err := v6.stranger(t.Context(), v6.cfg, "both-families")
	require.NoError(t, err, "only addresses of the family that is probed count")
	require.Equal(t, "fd00::1", got.Address)
	for _, asked := range []string{"nowhere", "empty"} {
		paths, err := p.probe(t.Context(), sink.ProbeRequest{Target: asked, Trusted: true})
		require.NoError(t, err, asked)
		require.Empty(t, paths, "nothing could be sent")
		p.strangers.next = time.Time{}
	}
	require.Zero(t, p.strangers.asking)
	require.Empty(t, p.strangers.places)
	require.Empty(t, p.busy)
}

// What is no target is refused, whoever asks, and briefly; and without the token or the setting everything is.
func TestStrangersAreReadStrictly(t *testing.T) {
	p := anyProber(t, "")
	for _, asked := range []string{
		"", " ", "a b", "inside:", "inside:0", "inside:65536", "inside:08620", "inside:+1", "inside:http", "inside:1:2", ":862", "[inside]:862", "[10.0.0.1]:862", "[fd00::1]",
		"fd00::1]:862", "http://inside", "inside/", "10.0.0.1/8", "10.0.0", "224.0.0.1", "0.0.0.0", "fe80::1%eth0", "inside\n", "in\x00side", "-inside",
		strings.Repeat("a", 10_000), strings.Repeat("a.", 5_000), "inside:" + strings.Repeat("1", 10_000), "[" + strings.Repeat(":", 10_000) + "]:1",
	} {
		_, err := p.probe(t.Context(), sink.ProbeRequest{Target: asked, Trusted: true})
		require.ErrorIs(t, err, sink.ErrNotConfigured, asked)
		require.Less(t, len(err.Error()), 400)
		p.strangers.next = time.Time{}
	}
	_, err := p.probe(t.Context(), sink.ProbeRequest{Target: "inside"})
	require.ErrorIs(t, err, sink.ErrNotConfigured, "without the token")
	p = anyProber(t, "")
	p.cfg.API.ProbeAny = false
	_, err = p.probe(t.Context(), sink.ProbeRequest{Target: "inside", Trusted: true})
	require.ErrorIs(t, err, sink.ErrNotConfigured, "not switched on")
}

// A few at once, so many a second, and some who wait, whoever asks and however many do.
func TestTurnstile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s turnstile
		begun := time.Now()
		var leaves []func()
		for i := range strangersAtOnce {
			leave, err := s.enter(t.Context())
			require.NoError(t, err)
			require.Equal(t, time.Duration(i)*strangersApart, time.Since(begun))
			leaves = append(leaves, leave)
		}
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.enter(soon)
		require.ErrorIs(t, err, sink.ErrBusy, "no place in time")
		leaves[0]()

		ctx, stop := context.WithCancel(t.Context())
		for range strangersAsking - len(leaves) + 1 {
			go func() {
				if leave, err := s.enter(ctx); err == nil {
					defer leave()
				}
				<-ctx.Done()
			}()
		}
		synctest.Wait()
		_, err = s.enter(t.Context())
		require.ErrorIs(t, err, sink.ErrBusy, "others wait")
		stop()
		synctest.Wait()

		time.Sleep(time.Hour)
		at := time.Now()
		leave, err := s.enter(t.Context())
		require.NoError(t, err)
		require.Equal(t, at, time.Now(), "a pause is not saved up")
		for _, leave := range append(leaves[1:], leave) {
			leave()
		}
		require.Zero(t, s.asking)
		require.Empty(t, s.places)
	})
}
