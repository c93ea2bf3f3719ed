package main

import (
	"encoding/json"
	"io"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/pkg/collector"
)

// jsonPath is the object that --output json prints for a target and class.
type jsonPath struct {
	Target      string `json:"target"`
	Address     string `json:"address"`
	Class       string `json:"class"`
	Sent        uint64 `json:"sent"`
	Received    uint64 `json:"received"`
	Lost        uint64 `json:"lost"`
	LostForward uint64 `json:"lost_forward"`
	LostReverse uint64 `json:"lost_reverse"`
	LostUnsplit uint64 `json:"lost_unsplit"`
	Refused     uint64 `json:"refused"`
	Unreachable uint64 `json:"unreachable"`
	Late        uint64 `json:"late"`
	NotSent     uint64 `json:"not_sent"`
	LocalDrop   uint64 `json:"local_drop"`
	HostDrops   uint64 `json:"host_drops"`
	Duplicate   uint64 `json:"duplicate"`
	Reordered   uint64 `json:"reordered"`
	Corrupted   uint64 `json:"corrupted"`
	Clock       string `json:"clock"`

	RTT       *jsonTimes `json:"rtt_us,omitempty"`
	Responder *jsonTimes `json:"responder_us,omitempty"`
	SendLate  *jsonTimes `json:"send_late_us,omitempty"`
	Jitter    *float64   `json:"jitter_us,omitempty"`

	DSCP    jsonDSCP          `json:"dscp"`
	Hops    jsonWays          `json:"hops"`
	Reasons map[string]uint64 `json:"not_sent_by,omitempty"`
	Flows   []jsonFlow        `json:"flows"`
}

// jsonTimes is a distribution in microseconds.
type jsonTimes struct {
	Min  float64 `json:"min"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

type jsonDSCP struct {
	Sent uint8 `json:"sent"`
	jsonWays
}

// jsonWays leaves out what is not known.
type jsonWays struct {
	Forward *int `json:"forward,omitempty"`
	Reverse *int `json:"reverse,omitempty"`
}

type jsonFlow struct {
	SrcPort  uint16     `json:"src_port"`
	Sent     uint64     `json:"sent"`
	Received uint64     `json:"received"`
	Lost     uint64     `json:"lost"`
	RTT      *jsonTimes `json:"rtt_us,omitempty"`
}

// printJSON writes one object a path and line.
func printJSON(w io.Writer, win *probe.Window) error {
	enc := json.NewEncoder(w)
	for i := range win.Paths {
		if err := enc.Encode(toJSON(&win.Paths[i])); err != nil {
			return err
		}
	}
	return nil
}

// printUnprobed writes an object for each target that could not even be asked.
func printUnprobed(w io.Writer, states []collector.TargetState) error {
	enc := json.NewEncoder(w)
	for _, s := range states {
		if s.Err == nil {
			continue
		}
		if err := enc.Encode(map[string]string{"target": s.Name, "error": s.Err.Error()}); err != nil {
			return err
		}
	}
	return nil
}

func toJSON(p *probe.Path) *jsonPath {
	j := &jsonPath{
		Target: p.Dst, Address: p.Addr.String(), Class: p.Class.Name, Clock: string(p.Clock),
		Sent: p.Sent, Received: p.Received, Lost: p.Lost, LostForward: p.LostForward, LostReverse: p.LostReverse,
		LostUnsplit: p.LostUnsplit, Refused: p.Refused, Unreachable: p.Unreachable, Late: p.Late, NotSent: p.NotSent,
		LocalDrop: p.LocalDrop, HostDrops: p.HostDrops, Duplicate: p.Duplicate, Reordered: p.Reordered, Corrupted: p.Corrupted,
		RTT: timesJSON(&p.RTT), Responder: timesJSON(&p.Responder), SendLate: timesJSON(&p.SendLate),
		DSCP:  jsonDSCP{Sent: p.Class.DSCP, jsonWays: waysJSON(p.DSCPForward, p.DSCPReverse)},
		Hops:  waysJSON(p.HopsForward, p.HopsReverse),
		Flows: []jsonFlow{},
	}
	if p.Jitter.OK {
		us := p.Jitter.Value / 1000
		j.Jitter = &us
	}
	for _, r := range p.NotSentBy {
		if j.Reasons == nil {
			j.Reasons = map[string]uint64{}
		}
		j.Reasons[r.Name] = r.Count
	}
	for i := range p.FlowDetail {
		f := &p.FlowDetail[i]
		j.Flows = append(j.Flows, jsonFlow{SrcPort: f.SrcPort, Sent: f.Sent, Received: f.Received, Lost: f.Lost, RTT: timesJSON(&f.RTT)})
	}
	return j
}

func timesJSON(h *probe.Hist) *jsonTimes {
	s, ok := h.Summary()
	if !ok {
		return nil
	}
	return &jsonTimes{s.Min / 1000, s.Mean / 1000, s.P50 / 1000, s.P90 / 1000, s.P99 / 1000, s.P999 / 1000, s.Max / 1000}
}

func waysJSON(forward, reverse probe.Opt) (w jsonWays) {
	value := func(o probe.Opt) *int {
		if !o.OK {
			return nil
		}
		v := int(o.Value)
		return &v
	}
	return jsonWays{value(forward), value(reverse)}
}
