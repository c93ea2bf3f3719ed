package sink

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// MeasurementRaw is that of Dropbox's LLAMA.
const MeasurementRaw = "raw_stats"

// Point is one line whose measurement, tags and fields come from elsewhere. Fields
// are written in their order.
type Point struct {
	Measurement string
	Tags        map[string]string
	Fields      []AgentField
	Time        time.Time
}

// rawPoint is a path as Dropbox's collectors have it: loss in percent, the mean RTT in
// milliseconds. They have no point where nothing was sent, and call lost whatever did
// not come back in time, late, refused and unreachable ones too: a dashboard of theirs
// that showed 0 % because a reflector is dead would do harm. What this host itself
// dropped is neither sent nor lost. Where all is lost they say an RTT of 0; here there
// is none, since 0 is the best of all.
func rawPoint(host *probe.Host, p *probe.Path, end time.Time) (Point, bool) {
	sent := p.Sent - min(p.LocalDrop, p.Sent)
	if p.Check() != nil || sent == 0 { // what contradicts itself is given to nobody
		return Point{}, false
	}
	lost := float64(sent - p.Received)
	fields := append(make([]AgentField, 0, 4), AgentFloat("loss", lost/float64(sent)*100), AgentFloat("lost", lost))
	if rtt, ok := p.RTT.Summary(); ok && p.Clock != probe.ClockMixed {
		fields = append(fields, AgentFloat("rtt", math.Round(rtt.Mean)/1e6))
	}
	fields = append(fields, AgentFloat("sent", float64(sent)))
	return Point{Measurement: MeasurementRaw, Tags: rawTags(host, p), Fields: fields, Time: end.UTC()}, true
}

// rawTags are the target's tags under their own names, as LLAMA's users write them, and
// with dst_ before those that do not say where they belong, as llama_path has them;
// this host's with src_.
func rawTags(host *probe.Host, p *probe.Path) map[string]string {
	tags := make(map[string]string, 2*len(p.DstTags)+len(host.Tags)+7)
	for k, v := range p.DstTags {
		if !strings.HasPrefix(k, "dst_") && !strings.HasPrefix(k, "src_") {
			tags["dst_"+k] = v
		}
	}
	for k, v := range host.Tags {
		tags["src_"+k] = v
	}
	for k, v := range p.DstTags {
		tags[k] = v
	}
	// LLAMA's two addresses would make one series of several classes.
	tags[tagSrc], tags[tagDst] = host.Name, p.Dst
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

// Raw appends the lines of w in the form of Dropbox's collectors.
func (e *Encoder) Raw(dst []byte, w *probe.Window) (out []byte, lines int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.begin(dst)
	for i := range w.Paths {
		if p, ok := rawPoint(&e.host, &w.Paths[i], w.End); ok {
			e.point(&p)
		}
	}
	return e.finish(before)
}

// Points appends a line for each point. One that line protocol cannot carry is withheld
// and counted, as are tags and fields that it cannot carry.
func (e *Encoder) Points(dst []byte, points []Point) (out []byte, lines int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.begin(dst)
	for i := range points {
		e.point(&points[i])
	}
	return e.finish(before)
}

func (e *Encoder) point(p *Point) {
	if !usable(p.Measurement) || p.Time.IsZero() {
		e.withhold("point of measurement %.64q at %s: it has no usable name or no time", p.Measurement, p.Time)
		return
	}
	e.tags.tags = e.tags.tags[:0]
	e.tags.own(p.Tags)
	e.start(p.Measurement)
	e.fields(p.Fields)
	e.end(p.Time)
}
