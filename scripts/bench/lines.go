package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
)

// totals is the sum of the counts of all llama_path lines.
type totals map[string]int64

// bareDrops is local_drop of lines that have no host_drops.
const bareDrops = "local_drop without host_drops"

// readTotals adds up the lines that the agent has written.
func readTotals(path string) (totals, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read lines: %w", err)
	}
	t := totals{}
	for d := lineprotocol.NewDecoderWithBytes(bytes.TrimSpace(text)); d.Next(); {
		m, err := d.Measurement()
		if err != nil {
			return nil, fmt.Errorf("read lines: %w", err)
		}
		line := totals{}
		for {
			key, v, err := d.NextField()
			if err != nil {
				return nil, fmt.Errorf("read lines: %w", err)
			}
			if key == nil {
				break
			}
			if n, ok := v.Interface().(int64); ok && string(m) == "llama_path" {
				t[string(key)] += n
				line[string(key)] = n
			}
		}
		if line["host_drops"] == 0 {
			t[bareDrops] += line["local_drop"]
		}
	}
	if t["sent"] == 0 {
		return nil, fmt.Errorf("read lines: no probe was counted in %d octets", len(text))
	}
	return t, nil
}

// trouble is what should be 0: lost, or not to be told from it by a user.
func (t totals) trouble() int64 {
	return t["lost"] + t["late"] + t["local_drop"] + t["refused"] + t["unreachable"]
}

// notSent is the share of probes that were due and did not leave, in percent.
func (t totals) notSent() float64 {
	return 100 * float64(t["not_sent"]) / float64(t["sent"]+t["not_sent"])
}
