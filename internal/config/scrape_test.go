package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScrapeMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"targets: ['']":                   "1:20: scrape.targets[0]: is empty: the line protocol has no empty tags",
		"targets: [no host]":              `1:20: scrape.targets[0]: "no host" is neither an IP address nor the name of a host`,
		"targets: ['h:0']":                "1:20: scrape.targets[0]: port 0 is not from 1 to 65535",
		"targets: [ftp://h]":              "1:20: scrape.targets[0]: is not a URL as http://collector:5000/influxdata",
		"targets: ['http://u:s3cret@h/']": "1:20: scrape.targets[0]: holds a user, a query or a fragment: collectors know of none",
		"targets: [h, h]":                 "1:23: scrape.targets[1]: given twice, first in line 1: remove one",
		"interval: 30":                    "1:20: scrape.interval: 30 has no unit: write 30s or 30ms",
		"max_size: 5":                     `1:20: scrape.max_size: "5" is not a whole number with its unit, as 512KiB, 64MiB or 1GiB, from 1KiB to 1GiB`,
		"collectors: [h]":                 "1:10: scrape.collectors: unknown key; known here: targets, interval, timeout, parallel, max_size, tag",
		"targets: [h], tag: \"a\\nb\"":    "",
	} {
		_, err := parseText(t, "scrape: {"+text+"}")
		if want == "" {
			require.ErrorContains(t, err, "scrape.tag")
			continue
		}
		require.EqualError(t, err, "test.yaml:"+want)
	}
}
