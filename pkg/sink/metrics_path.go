package sink

import (
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// pathSums is what became of a path's probes since it is summed up.
type pathSums struct {
	probe.Counts
	notSent     map[string]uint64 // by reason
	rtt         sums
	responder   sums
	labels      []*dto.LabelPair // by name
	labelled    uint64           // the window in which these were looked at
	round       uint64           // of the last window that the path was in
	flows       int              // in that window
	flowsLossy  int
	pathChanged int
}

func (s *pathSums) add(p *probe.Path, round uint64) {
	s.Counts.Add(&p.Counts)
	for _, r := range p.NotSentBy {
		if s.notSent == nil {
			s.notSent = make(map[string]uint64)
		}
		s.notSent[r.Name] += r.Count
	}
	s.rtt.add(&p.RTT)
	s.responder.add(&p.Responder)
	s.round = round
	s.flows, s.flowsLossy = p.Flows, p.FlowsLossy
	s.pathChanged += p.FlowsPathChanged
}

// sums is a distribution: native buckets of Prometheus' schema 3, each 2^(1/8) wide, and
// the classic ones. A value is counted by the middle of the bucket of [probe.Hist] that it
// was in: at most probe.RelativeError away from it. Sum and count are exact.
type sums struct {
	count   uint64
	ns      float64 // sum
	native  []nativeBucket
	classic [len(classicBounds)]uint64 // each its own, not yet cumulative
}

type nativeBucket struct {
	index int
	n     uint64
}

const (
	nativeSchema = 3
	// zeroThreshold in seconds: round trips of less than a nanosecond are none.
	zeroThreshold = 1e-9
)

// classicBounds in seconds: fabrics from a cable to the other side of the world.
var classicBounds = [...]float64{
	5e-6, 10e-6, 20e-6, 35e-6, 50e-6, 75e-6, 100e-6, 150e-6, 200e-6, 350e-6, 500e-6, 1e-3,
	2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 200e-3, 500e-3, 1, 2,
}

func (s *sums) add(h *probe.Hist) {
	s.count += h.Count()
	s.ns += float64(h.Sum())
	h.Each(func(ns float64, n uint64) {
		seconds := ns / 1e9
		if i := sort.SearchFloat64s(classicBounds[:], seconds); i < len(classicBounds) {
			s.classic[i] += n
		}
		if seconds <= zeroThreshold {
			return // in the count alone
		}
		s.addNative(int(math.Ceil(math.Log2(seconds)*(1<<nativeSchema))), n)
	})
}

func (s *sums) addNative(index int, n uint64) {
	at := sort.Search(len(s.native), func(i int) bool { return s.native[i].index >= index })
	if at == len(s.native) || s.native[at].index != index {
		s.native = append(s.native, nativeBucket{})
		copy(s.native[at+1:], s.native[at:])
		s.native[at] = nativeBucket{index: index}
	}
	s.native[at].n += n
}

// histogram is one metric that has both forms.
type histogram struct {
	prometheus.Metric
	labels  []*dto.LabelPair
	classic []*dto.Bucket
}

// Write writes both.
func (h histogram) Write(out *dto.Metric) error {
	if err := h.Metric.Write(out); err != nil {
		return err
	}
	out.Label, out.Histogram.Bucket = h.labels, h.classic
	return nil
}

func (s *sums) metric(desc *prometheus.Desc, labels []*dto.LabelPair) prometheus.Metric {
	native := make(map[int]int64, len(s.native))
	zero := s.count
	for _, b := range s.native {
		native[b.index] = int64(b.n)
		zero -= b.n
	}
	base, err := prometheus.NewConstNativeHistogram(desc, s.count, s.ns/1e9, native, nil, zero, nativeSchema, zeroThreshold, noTime)
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	h := histogram{Metric: base, labels: labels, classic: make([]*dto.Bucket, len(classicBounds))}
	var cumulative uint64
	for i, n := range s.classic {
		cumulative += n
		count, bound := cumulative, classicBounds[i]
		h.classic[i] = &dto.Bucket{CumulativeCount: &count, UpperBound: &bound}
	}
	return h
}

// pathValue is a counter, or a gauge.
type pathValue struct {
	*family
	value  float64
	labels []*dto.LabelPair
}

// family is what the metrics of one name have in common. Their labels are no part of
// the descriptor: making one for each path would take longer than all the rest of a scrape.
type family struct {
	desc  *prometheus.Desc
	gauge bool
}

func newFamily(name, help string, gauge bool) *family {
	return &family{prometheus.NewDesc("llama_path_"+name, help, nil, nil), gauge}
}

// Desc is asked for by the registry.
func (n pathValue) Desc() *prometheus.Desc { return n.desc }

// Write is asked for by the registry.
func (n pathValue) Write(out *dto.Metric) error {
	out.Label = n.labels
	if n.gauge {
		out.Gauge = &dto.Gauge{Value: &n.value}
	} else {
		out.Counter = &dto.Counter{Value: &n.value}
	}
	return nil
}

var (
	pathCounters = []struct {
		*family
		value func(*probe.Counts) uint64
	}{
		{newFamily("sent_total", "Probes that left this host.", false), func(c *probe.Counts) uint64 { return c.Sent }},
		{newFamily("received_total", "Probes answered within the timeout.", false), func(c *probe.Counts) uint64 { return c.Received }},
		{newFamily("late_total", "Probes answered after the timeout.", false), func(c *probe.Counts) uint64 { return c.Late }},
		{newFamily("refused_total", "Probes that the reflector got and did not answer.", false), func(c *probe.Counts) uint64 { return c.Refused }},
		{newFamily("unreachable_total", "Probes that an ICMP error came back for.", false), func(c *probe.Counts) uint64 { return c.Unreachable }},
		{newFamily("local_drop_total", "Probes whose reply was dropped on this host: no loss of the network.", false),
			func(c *probe.Counts) uint64 { return c.LocalDrop }},
		{newFamily("duplicate_total", "Replies beyond the first of a probe.", false), func(c *probe.Counts) uint64 { return c.Duplicate }},
		{newFamily("reordered_total", "Replies that came after the reply to a later probe.", false), func(c *probe.Counts) uint64 { return c.Reordered }},
		{newFamily("corrupted_total", "Replies that did not return what the probe had in it.", false), func(c *probe.Counts) uint64 { return c.Corrupted }},
		{newFamily("host_drops_total", "Packets that this host's interfaces and queues dropped meanwhile: where it grows, loss is no evidence against the network.", false),
			func(c *probe.Counts) uint64 { return c.HostDrops }},
	}
	pathLost = newFamily("lost_total",
		"Probes without an answer, by the direction in which they were lost: forward, reverse, or unsplit where nothing tells.", false)
	pathNotSent     = newFamily("not_sent_total", "Probes that were due and did not leave, by reason: no loss of the network.", false)
	pathFlows       = newFamily("flows", "Flows (source ports) probed in the last window.", true)
	pathFlowsLossy  = newFamily("flows_lossy", "Flows that lost a probe in the last window.", true)
	pathPathChanged = newFamily("flows_path_changed_total", "Flows whose number of hops changed, window by window.", false)
	pathRTT         = newFamily("rtt_seconds", "Round trips of the network, the responder's delay taken out.", false)
	pathResponder   = newFamily("responder_seconds", "Delay of the responder, from its receipt to its reply.", false)
)

func (s *pathSums) collect(out chan<- prometheus.Metric) {
	for _, c := range pathCounters {
		out <- pathValue{c.family, float64(c.value(&s.Counts)), s.labels}
	}
	for direction, n := range map[string]uint64{"forward": s.LostForward, "reverse": s.LostReverse, "unsplit": s.LostUnsplit} {
		out <- pathValue{pathLost, float64(n), with(s.labels, "direction", direction)}
	}
	for reason, n := range s.notSent {
		out <- pathValue{pathNotSent, float64(n), with(s.labels, "reason", reason)}
	}
	out <- pathValue{pathFlows, float64(s.flows), s.labels}
	out <- pathValue{pathFlowsLossy, float64(s.flowsLossy), s.labels}
	out <- pathValue{pathPathChanged, float64(s.pathChanged), s.labels}
	if s.rtt.count > 0 { // what is unknown is left out
		out <- s.rtt.metric(pathRTT.desc, s.labels)
	}
	if s.responder.count > 0 {
		out <- s.responder.metric(pathResponder.desc, s.labels)
	}
}

// with returns labels and one more, by name.
func with(labels []*dto.LabelPair, name, value string) []*dto.LabelPair {
	value = validLabel(value)
	out := append(slices.Clone(labels), &dto.LabelPair{Name: &name, Value: &value})
	sortLabels(out)
	return out
}

func sortLabels(labels []*dto.LabelPair) {
	slices.SortFunc(labels, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
}

// labels are the tags of the path's llama_path, under names that Prometheus takes.
func (m *Metrics) labels(p *probe.Path) []*dto.LabelPair {
	t := &m.tags
	t.tags = t.tags[:0]
	t.identity(tagSrc, m.host.Name)
	t.identity(tagDst, p.Dst)
	t.identity(tagClass, p.Class.Name)
	t.identity(tagClock, string(p.Clock))
	t.identity(tagFamily, strconv.Itoa(p.Family))
	t.prefixed("src_", m.host.Tags)
	t.prefixed("dst_", p.DstTags)
	t.sort()
	out := make([]*dto.LabelPair, 0, len(t.tags))
	for _, tag := range t.tags {
		name, value := labelName(tag.key), validLabel(tag.value)
		if !slices.ContainsFunc(out, func(l *dto.LabelPair) bool { return l.GetName() == name }) {
			out = append(out, &dto.LabelPair{Name: &name, Value: &value})
		}
	}
	sortLabels(out)
	return out
}

// labelName has an underscore for whatever a label's name may not have.
func labelName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, s)
}

func validLabel(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "_")
}
