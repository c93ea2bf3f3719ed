package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// keyPaths is every key of a schema as the document writes it.
func keyPaths(fs []field, under string) []string {
	var all []string
	for _, f := range fs {
		path := under + f.key
		if len(f.sub) == 0 {
			all = append(all, path)
		}
		all = append(all, keyPaths(f.sub, path+f.each+".")...)
	}
	return all
}

var row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| [^|]+ \\| (?:`([^`]*)`|–) \\| [^|]*\\| [^|]+ \\|$")

func documentRows(t *testing.T) [][]string {
	t.Helper()
	b, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	rows := row.FindAllStringSubmatch(string(b), -1)
	require.Equal(t, strings.Count(string(b), "\n| `"), len(rows), "a row has another form")
	return rows
}

func TestDocumentHasEveryKey(t *testing.T) {
	var documented []string
	for _, r := range documentRows(t) {
		documented = append(documented, r[1])
	}
	require.ElementsMatch(t, keyPaths(newDecoder("", env{}).schema(), ""), documented)
}

// Writing a documented default changes nothing.
func TestDocumentedDefaults(t *testing.T) {
	need := map[string]string{ // what an element of a list or map needs beside the key
		"sinks.file":        "path: f, ",
		"sinks.influx":      "url: 'http://h', database: d, ",
		"sinks.socket":      "address: 'tcp://h:1', ",
		"reflector.auth":    "prefix: 10.0.0.0/8, key: k, ",
		"targets_from.urls": "url: 'https://h/l', ",
		"targets_from.srv":  "name: _a._udp.b, ",
	}
	const keys = "keys: {k: {hex: 000102030405060708090a0b0c0d0e0f}}, "
	tried := 0
	for _, r := range documentRows(t) {
		path, def := r[1], r[2]
		if def == "" {
			continue
		}
		nest := func(setting string) string {
			parts := strings.Split(path, ".")
			text, extra := setting, ""
			if strings.Contains(path, "NAME") || strings.Contains(path, "[]") {
				extra = need[strings.Join(strings.Split(strings.ReplaceAll(path, "[]", ""), ".")[:2], ".")]
			}
			text = extra + text
			for i := len(parts) - 2; i >= 0; i-- {
				key, list := strings.CutSuffix(parts[i], "[]")
				if text = "{" + text + "}"; list {
					text = "[" + text + "]"
				}
				if text = key + ": " + text; list && key == "auth" {
					text = keys + text
				}
			}
			return text
		}
		key := path[strings.LastIndexByte(path, '.')+1:]
		with, err := parseText(t, nest(key+": "+def))
		require.NoError(t, err, nest(key+": "+def))
		without, err := parseText(t, nest(""))
		require.NoError(t, err, nest(""))
		require.Equal(t, emptyIsNil(without), emptyIsNil(with), path)
		tried++
	}
	require.Greater(t, tried, 35)
}

// emptyIsNil makes an empty list or map the same as none.
func emptyIsNil(c *Config) *Config {
	if len(c.Host.Tags) == 0 {
		c.Host.Tags = nil
	}
	if len(c.Datapath.Interfaces) == 0 {
		c.Datapath.Interfaces = nil
	}
	for i := range c.TargetsFrom.SRV {
		if s := &c.TargetsFrom.SRV[i]; len(s.Tags) == 0 {
			s.Tags = nil
		}
	}
	c.TargetsFrom.Lists = nil // they have times
	return c
}

func TestExampleIsRight(t *testing.T) {
	c, err := Load("../../deploy/llama-agent.yaml")
	require.NoError(t, err)
	require.Len(t, c.Targets, 3)
	require.Equal(t, map[string]string{"role": "spine"}, c.Targets[2].Tags)
	require.False(t, c.Targets[2].SSID)
	require.Len(t, c.Probing.Classes, 2)
}
