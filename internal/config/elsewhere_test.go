package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListsElsewhere(t *testing.T) {
	l := newLists(t)
	said := map[string]string{}
	var c *Config
	load := func(more string) []List {
		t.Helper()
		next, err := l.loadFetched("probing: {allow: [10.0.0.0/8]}\nreflector: {keys: {k: {hex: 000102030405060708090a0b0c0d0e0f}}}\ntargets_from:\n  urls: [{url: 'https://h/l'}]\n  srv: [{name: _llama._udp.example.net, tags: {rack: r9}}]\n"+more, c, said)
		require.NoError(t, err)
		c = next
		return c.TargetsFrom.Lists
	}
	lists := load("")
	require.Equal(t, []List{{Source: "https://h/l", away: true}, {Source: "_llama._udp.example.net", away: true, tags: map[string]string{"rack": "r9"}}}, lists)

	said["https://h/l"] = `{"a": {"address": "10.0.0.1", "key": "k"}, "thief": {"address": "10.0.0.2", "key_file": "/etc/shadow"}}`
	said["_llama._udp.example.net"] = `{"b": {"address": "10.0.0.3", "port": 8620}}`
	lists = load("")
	require.Equal(t, []int{1, 1, 1, 0}, []int{lists[0].Targets, lists[0].Refused, lists[1].Targets, lists[1].Refused})
	require.Contains(t, lists[0].Problems[0].String(), "https://h/l:1:89: targets.thief.key_file: a list from elsewhere names no files")
	require.Equal(t, map[string]string{"rack": "r9"}, c.Targets[1].Tags)
	require.NotNil(t, c.Targets[0].Key)

	said["https://h/l"], said["_llama._udp.example.net"] = "<html>", "{}"
	lists = load("")
	require.Contains(t, lists[0].Fault, "https://h/l: is HTML")
	require.Contains(t, lists[1].HeldBack, "names 0 targets, and 1 before")
	require.Len(t, c.Targets, 2)
	require.Equal(t, "b", c.Targets[1].Name)
	require.Equal(t, map[string]string{"rack": "r9"}, c.Targets[1].Tags)
}

func TestWrongListsElsewhere(t *testing.T) {
	for text, says := range map[string]string{
		"urls: [{url: 'http://h/l'}]":                                      "is neither https, nor http to a loopback address",
		"urls: [{url: 'http://127.0.0.1.example.net/l'}]":                  "is neither https",
		"urls: [{url: 'https://u:p@h/l'}]":                                 "holds a user",
		"urls: [{url: 'file:///etc/passwd'}]":                              "is not a URL",
		"urls: [{interval: 1m}]":                                           "has no url",
		"urls: [{url: 'https://h/l'}, {url: 'https://h/l', interval: 1m}]": "given twice",
		"urls: [{url: 'https://h/l', interval: 1ms}]":                      "is not from 1s to 24h",
		"srv: [{name: example.net}]":                                       "is not the name of a service",
		"srv: [{name: _llama._udp.x}, {name: _llama._udp.x}]":              "given twice",
		"srv: [{tags: {a: b}}]":                                            "has no name",
	} {
		_, err := parseText(t, "targets_from: {"+text+"}")
		require.ErrorContains(t, err, says, text)
		require.NotContains(t, err.Error(), "u:p@")
	}
	_, err := parseText(t, "targets_from: {urls: [{url: 'http://127.0.0.1:1/l'}, {url: 'http://[::1]:1/l'}, {url: 'http://localhost/l'}, {url: 'https://h/l?a=b'}]}")
	require.NoError(t, err)
}
