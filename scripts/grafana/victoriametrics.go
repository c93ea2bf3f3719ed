package main

import (
	"fmt"
	"strings"
)

// victoriaMetrics is what agents push as line protocol: a metric a field, named measurement_field, of which each sample
// is one window. It is PromQL but for keep_metric_names and tlast_over_time.
type victoriaMetrics struct{ filter, agentFilter string }

func newVictoriaMetrics(tags []string) victoriaMetrics {
	var all []string
	for _, side := range []string{"src", "dst"} {
		for _, n := range filterNames(tags) {
			all = append(all, promMatch(tagOf(side, n), side+"_"+n))
		}
	}
	all = append(all, promMatch("class", "class"), promMatch("family", "family"))
	return victoriaMetrics{filter: strings.Join(all, ","), agentFilter: promMatch("src", "src_host")}
}

// promMatch leaves the format to Grafana, which escapes for a regular expression within a PromQL string.
func promMatch(label, variable string) string { return fmt.Sprintf(`%s=~"$%s"`, label, variable) }

func (victoriaMetrics) name() string   { return "victoriametrics" }
func (victoriaMetrics) title() string  { return "VictoriaMetrics" }
func (victoriaMetrics) plugin() string { return "prometheus" }

// by is the two labels of a cell, as an aggregation takes them.
func (q victoriaMetrics) by(tags []string) variable {
	options := []option{{Selected: true, Text: host, Value: q.byHost()}}
	for _, t := range tags {
		options = append(options, option{Text: t, Value: tagOf("src", t) + "," + tagOf("dst", t)})
	}
	return custom("by", "Cells by", options)
}

func (victoriaMetrics) rtts() []option { return rttFields() }
func (victoriaMetrics) rttOf() string  { return "Of the worst window." }

func (victoriaMetrics) byHost() string { return "src,dst" }

func (victoriaMetrics) values(measurement, tag string, w *within) any {
	field := map[string]string{"llama_path": "llama_path_sent", "llama_agent": "llama_agent_encoder_lines"}[measurement]
	if w != nil {
		field += "{" + promMatch(w.tag, w.variable) + "}"
	}
	return map[string]string{"query": fmt.Sprintf("label_values(%s, %s)", field, tag), "refId": "StandardVariableQuery"}
}

func (victoriaMetrics) table(format string, args ...any) target {
	return target{Expr: fmt.Sprintf(format, args...), EditorMode: "code", Format: "table", Instant: true}
}

func (victoriaMetrics) lines(legend, format string, args ...any) target {
	return target{Expr: fmt.Sprintf(format, args...), EditorMode: "code", Format: "time_series", Range: true, LegendFormat: strings.TrimSpace(legend)}
}

// over is a function of the windows of a field within a time.
func (q victoriaMetrics) over(function, field, more, length string) string {
	return fmt.Sprintf("%s(llama_path_%s{%s%s}[%s])", function, field, q.filter, more, length)
}

// bucket is the time in which one window with host_drops takes the others with it: exact exclusion would ask for
// each window, and a matrix of 40,000 paths would take many seconds.
const bucket = "1m"

// pathLoss is the mean loss of each path in its clean windows, which all have as many probes.
func (q victoriaMetrics) pathLoss() string {
	return fmt.Sprintf("avg_over_time((%s unless %s > 0)[$__range:%s])",
		q.over("avg_over_time", "loss_ratio", "", bucket), q.over("max_over_time", "host_drops", "", bucket), bucket)
}

// cells is the figure of the cells, or what below 0 stands for none.
func (q victoriaMetrics) cells(figure, more string) string {
	return fmt.Sprintf("$cell by (${by:raw}) (%s) or (sum by (${by:raw}) (%s) > bool 0) - %d",
		figure, q.over("sum_over_time", "sent", more, "$__range"), -cellNotSent)
}

func (q victoriaMetrics) lossMatrix() target { return q.table("%s", q.cells(q.pathLoss(), "")) }

func (q victoriaMetrics) rttMatrix() target {
	more := "," + promMatch("clock", "clock")
	return q.table("%s", q.cells(q.over("max_over_time", "${rtt}", more, "$__range"), more))
}

const promPath = "by (src, dst, family, class)"

func (q victoriaMetrics) count(of pathState) target {
	sum := func(field, is string) string {
		return fmt.Sprintf("count(sum %s (%s) %s) or vector(0)", promPath, q.over("sum_over_time", field, "", "$__range"), is)
	}
	loss := func(is string) string {
		return fmt.Sprintf("count(max %s (%s) %s) or vector(0)", promPath, q.pathLoss(), is)
	}
	return q.table("%s", map[pathState]string{
		allPaths: sum("sent", ">= 0"), lossyPaths: loss("> 0"), deadPaths: loss(">= 1"), droppingPaths: sum("host_drops", "> 0"), unsentPaths: sum("not_sent", "> 0"),
	}[of])
}

func (q victoriaMetrics) worstLoss() target {
	return q.table("topk(25, max %s (%s))", promPath, q.pathLoss())
}

func (q victoriaMetrics) worstRTT() target {
	return q.table("topk(25, max by (src, dst, family, class, clock) (%s))", q.over("max_over_time", "${rtt}", ","+promMatch("clock", "clock"), "$__range"))
}

func (q victoriaMetrics) lossyFlows() target {
	return q.table("topk(50, sum by (src, dst, family, class, src_addr, dst_addr, src_port) (sum_over_time(llama_flow_lost{%s}[$__range])) > 0)", q.filter)
}

const promName = "{{src}} → {{dst}} IPv{{family}} {{class}}"

func (q victoriaMetrics) loss() target {
	return q.lines(promName, "max %s (%s unless %s > 0)", promPath,
		q.over("avg_over_time", "loss_ratio", "", "$__interval"), q.over("max_over_time", "host_drops", "", "$__interval"))
}

func (q victoriaMetrics) total(field, legend string) target {
	return q.lines(legend, "sum(%s)", q.over("sum_over_time", field, "", "$__interval"))
}

func (q victoriaMetrics) worst(field, legend string) target {
	return q.lines(legend+" {{clock}}", "max by (clock) (%s)", q.over("max_over_time", field, ","+promMatch("clock", "clock"), "$__interval"))
}

func (q victoriaMetrics) figure(field, legend string) target {
	return q.lines(promName+" {{clock}} "+legend, "max by (src, dst, family, class, clock) (%s)", q.over("max_over_time", field, ","+promMatch("clock", "clock"), "$__interval"))
}

func (q victoriaMetrics) marks(field, legend string) target {
	return q.lines(promName+" "+legend, "max %s (%s)", promPath, q.over("max_over_time", field, "", "$__interval"))
}

func (q victoriaMetrics) byHostMax(field, word string) target {
	return q.lines("{{src}} "+word, "max by (src) (%s)", q.over("max_over_time", field, "", "$__interval"))
}

func (q victoriaMetrics) rate(field, legend string) target {
	return q.lines("{{src}} "+legend, "max by (src) (rate(llama_agent_%s{%s}[$__rate_interval]))", field, q.agentFilter)
}

func (q victoriaMetrics) now(field, legend string) target {
	return q.lines("{{src}} "+legend, "max by (src) (last_over_time(llama_agent_%s{%s}[$__interval]))", field, q.agentFilter)
}

// sinks asks for a field of every sink, whose name is a part of the metric's.
func (q victoriaMetrics) sinks(function, suffix, length, legend string) target {
	return q.lines("{{src}} {{sink}} "+legend, `label_replace(max by (src, __name__) (%s({__name__=~"llama_agent_sink_.+_%s",%s}[%s]) keep_metric_names), "sink", "$1", "__name__", "llama_agent_sink_(.+)_%s")`,
		function, suffix, q.agentFilter, length, suffix)
}

func (q victoriaMetrics) sinkRate(suffix, legend string) target {
	return q.sinks("rate", suffix, "$__rate_interval", legend)
}

func (q victoriaMetrics) sinkNow(suffix, legend string) target {
	return q.sinks("last_over_time", suffix, "$__interval", legend)
}

func (q victoriaMetrics) agents() (target, string) {
	return q.table("max by (src) (1000 * tlast_over_time(llama_agent_encoder_lines{%s}[$__range]))", q.agentFilter), "Value"
}
