//go:build linux

package main

import (
	"errors"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
)

// path is what the agents tell of one pair and class.
type path struct{ src, dst, class string }

// counts are those of llama_path that the demo shows or judges by.
type counts struct {
	sent, lost, forward, reverse, unsplit int64
	late, notSent, localDrop, hostDrops   int64
}

// field is the count of that name in line protocol, or nil.
func (c *counts) field(name string) *int64 {
	switch name {
	case "sent":
		return &c.sent
	case "lost":
		return &c.lost
	case "lost_forward":
		return &c.forward
	case "lost_reverse":
		return &c.reverse
	case "lost_unsplit":
		return &c.unsplit
	case "late":
		return &c.late
	case "not_sent":
		return &c.notSent
	case "local_drop":
		return &c.localDrop
	case "host_drops":
		return &c.hostDrops
	}
	return nil
}

func (c *counts) add(d counts) {
	c.sent, c.lost = c.sent+d.sent, c.lost+d.lost
	c.forward, c.reverse, c.unsplit = c.forward+d.forward, c.reverse+d.reverse, c.unsplit+d.unsplit
	c.late, c.notSent = c.late+d.late, c.notSent+d.notSent
	c.localDrop, c.hostDrops = c.localDrop+d.localDrop, c.hostDrops+d.hostDrops
}

// line is one llama_path: a path in a window.
type line struct {
	path
	counts
	p50, p99 float64 // RTT, µs; 0: left out, no reply
	end      time.Time
}

// decode reads one line of line protocol; ok is false for other measurements.
func decode(text []byte) (l line, ok bool, err error) {
	d := lineprotocol.NewDecoderWithBytes(text)
	if !d.Next() {
		return l, false, d.Err()
	}
	m, err := d.Measurement()
	if err != nil {
		return l, false, err
	}
	ok = string(m) == "llama_path" // the others are read to the end too, or damage would go unseen
	for {
		key, value, err := d.NextTag()
		if err != nil {
			return l, false, err
		}
		if key == nil {
			break
		}
		switch string(key) {
		case "src":
			l.src = string(value)
		case "dst":
			l.dst = string(value)
		case "class":
			l.class = string(value)
		}
	}
	for {
		key, value, err := d.NextField()
		if err != nil {
			return l, false, err
		}
		if key == nil {
			break
		}
		l.set(string(key), value)
	}
	l.end, err = d.Time(lineprotocol.Nanosecond, time.Time{})
	if err == nil && l.end.IsZero() {
		err = errors.New("no time")
	}
	return l, ok && err == nil, err
}

func (l *line) set(name string, v lineprotocol.Value) {
	switch v := v.Interface().(type) {
	case int64:
		if n := l.field(name); n != nil {
			*n = v
		}
	case float64:
		switch name {
		case "rtt_p50_us":
			l.p50 = v
		case "rtt_p99_us":
			l.p99 = v
		}
	}
}
