package main

import (
	"fmt"
	"strings"
)

// scraped is what Prometheus has of the agents' /metrics (docs/metrics.md), in PromQL alone. Counts are counters, so that
// each figure is of a time; the agents' own metrics are told apart by instance. What /metrics lacks is an empty target.
type scraped struct{ filter, agentFilter string }

func newScraped(tags []string) scraped {
	v := newVictoriaMetrics(tags) // paths have the same labels
	return scraped{filter: v.filter, agentFilter: promMatch("instance", "src_host")}
}

func (scraped) name() string   { return "prometheus" }
func (scraped) title() string  { return "Prometheus" }
func (scraped) plugin() string { return "prometheus" }

func (scraped) by(tags []string) variable { return victoriaMetrics{}.by(tags) }
func (scraped) byHost() string            { return victoriaMetrics{}.byHost() }

// rtts are quantiles: a histogram has neither minimum nor maximum.
func (scraped) rtts() []option {
	return []option{{Text: "99 %", Value: "0.99"}, {Text: "median", Value: "0.5"}, {Text: "90 %", Value: "0.9"}, {Text: "99.9 %", Value: "0.999"}}
}

func (scraped) rttOf() string { return "Of all round trips in the time chosen." }

func (scraped) values(measurement, tag string, w *within) any {
	metric := "llama_path_sent_total"
	if measurement == "llama_agent" {
		metric, tag = "llama_agent_encoder_lines", "instance"
	}
	if w != nil {
		metric += "{" + promMatch(w.tag, w.variable) + "}"
	}
	return map[string]string{"query": fmt.Sprintf("label_values(%s, %s)", metric, tag), "refId": "StandardVariableQuery"}
}

func (scraped) table(format string, args ...any) target {
	return victoriaMetrics{}.table(format, args...)
}

func (scraped) lines(legend, format string, args ...any) target {
	return victoriaMetrics{}.lines(legend, format, args...)
}

// chartStep is the time that a point of a chart is of: four scrapes at least.
const chartStep = "$__rate_interval"

// over is a function of a counter of paths within a time.
func (q scraped) over(function, counter, more, length string) string {
	if direction, ok := strings.CutPrefix(counter, "lost_"); ok {
		counter, more = "lost", more+fmt.Sprintf(`,direction=%q`, direction)
	}
	grown := func(counter string) string {
		return fmt.Sprintf("%s(llama_path_%s_total{%s%s}[%s])", function, counter, q.filter, more, length)
	}
	if counter == "not_sent" { // of which there is one a reason, and none before the first
		return fmt.Sprintf("(sum without (reason) (%s) or 0 * %s)", grown(counter), grown("sent"))
	}
	return grown(counter)
}

// asked and missed are what probes that the network had to answer, and those of them that were lost, grew by within a
// time in which the source's host dropped nothing itself.
func (q scraped) asked(length string) string {
	return fmt.Sprintf("(%s - %s unless %s > 0)", q.over("increase", "sent", "", length), q.over("increase", "local_drop", "", length), q.over("increase", "host_drops", "", length))
}

func (q scraped) missed(length string) string {
	return fmt.Sprintf("(%s unless ignoring (direction) %s > 0)", q.over("increase", "lost", "", length), q.over("increase", "host_drops", "", length))
}

// pathLoss is the loss of each path, with all its tags, of minutes without host_drops.
func (q scraped) pathLoss() string {
	return fmt.Sprintf("sum without (job, instance, clock, direction) (sum_over_time(%[1]s[$__range:%[3]s])) / (sum without (job, instance, clock) (sum_over_time(%[2]s[$__range:%[3]s])) > 0)",
		q.missed(bucket), q.asked(bucket), bucket)
}

// quantile is of each path's times, in µs: of native histograms or, where there are none, of classic buckets. What has no
// times has no value, which the comparison sees to.
func (q scraped) quantile(of, metric, length string) string {
	rate := func(suffix string) string {
		return fmt.Sprintf("histogram_quantile(%s, rate(llama_path_%s_seconds%s{%s,%s}[%s]))", of, metric, suffix, q.filter, promMatch("clock", "clock"), length)
	}
	return fmt.Sprintf("1e6 * (%s or %s) >= 0", rate(""), rate("_bucket"))
}

// cells is the figure of the cells, or what below 0 stands for none.
func (q scraped) cells(figure, more string) string {
	return fmt.Sprintf("$cell by (${by:raw}) (%s) or (sum by (${by:raw}) (%s) > bool 0) - %d", figure, q.over("increase", "sent", more, "$__range"), -cellNotSent)
}

func (q scraped) lossMatrix() target { return q.table("%s", q.cells(q.pathLoss(), "")) }

func (q scraped) rttMatrix() target {
	return q.table("%s", q.cells(q.quantile("${rtt}", "rtt", "$__range"), ","+promMatch("clock", "clock")))
}

// count takes 0.999 for all: increases are extrapolated.
func (q scraped) count(of pathState) target {
	sum := func(counter, is string) string {
		return fmt.Sprintf("count(sum %s (%s) %s) or vector(0)", promPath, q.over("increase", counter, "", "$__range"), is)
	}
	loss := func(is string) string {
		return fmt.Sprintf("count(max %s (%s) %s) or vector(0)", promPath, q.pathLoss(), is)
	}
	return q.table("%s", map[pathState]string{
		allPaths: sum("sent", ">= 0"), lossyPaths: loss("> 0"), deadPaths: loss("> 0.999"), droppingPaths: sum("host_drops", "> 0"), unsentPaths: sum("not_sent", "> 0"),
	}[of])
}

func (q scraped) worstLoss() target { return q.table("topk(25, max %s (%s))", promPath, q.pathLoss()) }

const promClockPath = "by (src, dst, family, class, clock)"

func (q scraped) worstRTT() target {
	return q.table("topk(25, max %s (%s))", promClockPath, q.quantile("${rtt}", "rtt", "$__range"))
}

func (scraped) lossyFlows() target { return target{} }

func (q scraped) loss() target {
	return q.lines(promName, "sum %[1]s (%[2]s) / (sum %[1]s (%[3]s) > 0)", promPath, q.missed(chartStep), q.asked(chartStep))
}

// counted are the counters of paths among the fields of llama_path.
var counted = map[string]bool{
	"lost_forward": true, "lost_reverse": true, "lost_unsplit": true, "refused": true, "unreachable": true, "late": true, "local_drop": true, "not_sent": true,
	"host_drops": true, "flows_path_changed": true,
}

// grown is by how much a counter grew within a step of the chart.
func (q scraped) grown(counter string) string {
	return q.over("rate", counter, "", chartStep) + " * $__interval_ms / 1000"
}

func (q scraped) total(field, legend string) target {
	switch {
	case counted[field]:
		return q.lines(legend, "sum(%s)", q.grown(field))
	case field == "flows_lossy":
		return q.lines(legend, "sum(last_over_time(llama_path_%s{%s}[%s]))", field, q.filter, chartStep)
	}
	return target{}
}

// timed are the fields of llama_path that are quantiles of a histogram of /metrics.
var timed = map[string][2]string{
	"rtt_p50_us": {"0.5", "rtt"}, "rtt_p90_us": {"0.9", "rtt"}, "rtt_p99_us": {"0.99", "rtt"}, "rtt_p999_us": {"0.999", "rtt"}, "responder_p99_us": {"0.99", "responder"},
}

func (q scraped) quantiles(group, legend, field string) target {
	h, ok := timed[field]
	if !ok {
		return target{}
	}
	return q.lines(legend, "max by (%s) (%s)", group, q.quantile(h[0], h[1], chartStep))
}

func (q scraped) worst(field, legend string) target {
	return q.quantiles("clock", legend+" {{clock}}", field)
}

func (q scraped) figure(field, legend string) target {
	return q.quantiles("src, dst, family, class, clock", promName+" {{clock}} "+legend, field)
}

func (q scraped) marks(field, legend string) target {
	if !counted[field] {
		return target{}
	}
	return q.lines(promName+" "+legend, "sum %s (%s)", promPath, q.grown(field))
}

func (q scraped) byHostMax(field, word string) target {
	return q.lines("{{src}} "+word, "max by (src) (%s)", q.grown(field))
}

func (q scraped) rate(field, legend string) target {
	return q.lines("{{instance}} "+legend, "max by (instance) (rate(llama_agent_%s{%s}[%s]))", field, q.agentFilter, chartStep)
}

func (q scraped) now(field, legend string) target {
	return q.lines("{{instance}} "+legend, "max by (instance) (llama_agent_%s{%s})", field, q.agentFilter)
}

// sinks is a field of every sink, whose name is a part of the metric's.
func (q scraped) sinks(suffix string) string {
	return fmt.Sprintf(`label_replace({__name__=~"llama_agent_sink_.+_%[1]s",%[2]s}, "sink", "$1", "__name__", "llama_agent_sink_(.+)_%[1]s")`, suffix, q.agentFilter)
}

func (q scraped) sinkRate(suffix, legend string) target {
	return q.lines("{{instance}} {{sink}} "+legend, "max by (instance, sink) (rate(%s[%s:$__interval]))", q.sinks(suffix), chartStep)
}

func (q scraped) sinkNow(suffix, legend string) target {
	return q.lines("{{instance}} {{sink}} "+legend, "max by (instance, sink) (%s)", q.sinks(suffix))
}

func (q scraped) agents() (target, string) {
	return q.table("max by (instance) (1000 * max_over_time(timestamp(llama_agent_encoder_lines{%s})[$__range:$__interval]))", q.agentFilter), "Value"
}
