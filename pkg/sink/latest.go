package sink

import (
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// maxLatest bounds the paths that a [Latest] keeps.
const maxLatest = 1 << 16

// Latest keeps the last complete window in the form in which the API gives it out.
// It is safe for concurrent use.
type Latest struct {
	host     probe.Host
	snapshot atomic.Pointer[snapshot]
	cut      atomic.Uint64
}

// NewLatest returns an empty store for windows measured by host.
func NewLatest(host probe.Host) *Latest { return &Latest{host: host} }

// Set replaces the window kept. w is not used after the return.
func (l *Latest) Set(w *probe.Window) {
	paths := w.Paths
	if len(paths) > maxLatest {
		l.cut.Add(uint64(len(paths) - maxLatest))
		paths = paths[:maxLatest]
	}
	points := make([]point, 0, len(paths))
	for i := range paths {
		if paths[i].Check() == nil { // what contradicts itself is given to nobody
			points = append(points, l.point(&paths[i], w.End))
		}
	}
	l.snapshot.Store(newSnapshot(w.End, points))
}

// End returns the end of the window kept; ok is false before the first.
func (l *Latest) End() (end time.Time, ok bool) {
	s := l.snapshot.Load()
	if s == nil {
		return time.Time{}, false
	}
	return s.end, true
}

// Cut returns how many paths found no room in the store so far.
func (l *Latest) Cut() uint64 { return l.cut.Load() }

// point is a path as LLAMA had it: loss in percent, RTT in milliseconds, tags
// of the target under their own names.
type point struct {
	Fields      map[string]number `json:"fields"`
	Tags        map[string]string `json:"tags"`
	Time        time.Time         `json:"time"`
	Measurement string            `json:"measurement"`
}

// number is written with six decimals, always: LLAMA's scraper writes fields as
// floats and its database would refuse one that was an integer at first.
type number float64

// MarshalJSON writes the number.
func (n number) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(n), 'f', 6, 64), nil
}

func (l *Latest) point(p *probe.Path, end time.Time) point {
	fields := map[string]number{"sent": number(p.Sent), "lost": number(p.Lost)}
	if ratio, ok := p.LossRatio(); ok {
		fields["loss"] = number(ratio * 100)
	}
	if rtt, ok := p.RTT.Summary(); ok && p.Clock != probe.ClockMixed {
		fields["rtt"] = number(math.Round(rtt.Mean) / 1e6)
	}
	// LLAMA called all of these lost. They are not, and are no silence either: they
	// are told apart here, where there are any.
	for name, n := range map[string]uint64{"late": p.Late, "refused": p.Refused, "unreachable": p.Unreachable} {
		if n > 0 {
			fields[name] = number(n)
		}
	}
	return point{Fields: fields, Tags: l.tags(p), Time: end.UTC(), Measurement: "raw_stats"}
}

func (l *Latest) tags(p *probe.Path) map[string]string {
	tags := make(map[string]string, len(p.DstTags)+len(l.host.Tags)+7)
	for k, v := range l.host.Tags {
		tags["src_"+k] = v
	}
	for k, v := range p.DstTags {
		tags[k] = v
	}
	// Addresses alone merge QoS classes into one series, as they did in LLAMA.
	tags[tagSrc], tags[tagDst] = l.host.Name, p.Dst
	tags[tagFamily] = strconv.Itoa(p.Family)
	tags[tagClass], tags[tagClock] = p.Class.Name, string(p.Clock)
	if p.SrcAddr.IsValid() {
		tags["src_ip"] = p.SrcAddr.Unmap().String()
	}
	if p.Addr.IsValid() {
		tags["dst_ip"] = p.Addr.Addr().Unmap().String()
	}
	for k, v := range tags {
		if v == "" {
			delete(tags, k)
		}
	}
	return tags
}
