package main

import (
	"fmt"
	"strings"
)

// influxQL is InfluxDB 1.x, or a newer one through its InfluxQL. Variables are written with their format
// (`${name:regex}`), since what Grafana does by default has changed between its versions.
type influxQL struct{ filter, agentFilter string }

func newInfluxQL(tags []string) influxQL {
	var all []string
	for _, side := range []string{"src", "dst"} {
		for _, n := range filterNames(tags) {
			all = append(all, influxMatch(tagOf(side, n), side+"_"+n))
		}
	}
	all = append(all, influxMatch("class", "class"), influxMatch("family", "family"))
	return influxQL{filter: strings.Join(all, " AND "), agentFilter: influxMatch("src", "src_host")}
}

// influxMatch lets all through for "All", hosts without the tag too.
func influxMatch(tag, variable string) string {
	return fmt.Sprintf(`%q =~ /^${%s:regex}$/`, tag, variable)
}

func (influxQL) name() string   { return "influxdb" }
func (influxQL) title() string  { return "InfluxDB" }
func (influxQL) plugin() string { return "influxdb" }

// by is the end of a regular expression for names of tags: `_{0}`, no underscore at all, leaves src and dst.
func (q influxQL) by(tags []string) variable {
	options := []option{{Selected: true, Text: host, Value: q.byHost()}}
	for _, t := range tags {
		options = append(options, option{Text: t, Value: "_" + t})
	}
	return custom("by", "Cells by", options)
}

func (influxQL) rtts() []option { return rttFields() }
func (influxQL) rttOf() string  { return "Of the worst window." }

func (influxQL) byHost() string { return "_{0}" }

func (influxQL) values(measurement, tag string, w *within) any {
	s := fmt.Sprintf("SHOW TAG VALUES FROM %q WITH KEY = %q", measurement, tag)
	if w != nil {
		s += " WHERE " + influxMatch(w.tag, w.variable)
	}
	return s
}

// table is one whose groups are rows.
func (influxQL) table(format string, args ...any) target {
	return target{Query: fmt.Sprintf(format, args...), RawQuery: true, ResultFormat: "table"}
}

// lines has [[tag_…]] and [[col]] in its legend: after a $ Grafana would take words for parts of the name.
func (influxQL) lines(legend, format string, args ...any) target {
	return target{Query: fmt.Sprintf(format, args...), RawQuery: true, ResultFormat: "time_series", Alias: strings.TrimSpace(legend)}
}

func (q influxQL) from(more string) string {
	if more != "" {
		more = " AND " + more
	}
	return fmt.Sprintf(`FROM "llama_path" WHERE $timeFilter AND %s%s`, q.filter, more)
}

// clean windows have probes whose fate is known to be the network's. InfluxQL calls x/0 0, so that a window in which
// nothing was asked has to be kept out.
const clean = `"host_drops" = 0 AND "sent" > "local_drop"`

// lossRatio begins with 1.0: what an outer query makes of integers divided by each other is an integer, 0 of most.
const lossRatio = `1.0 * sum("lost") / (sum("sent") - sum("local_drop"))`

// pathLoss is the loss of each path in its clean windows.
func (q influxQL) pathLoss(group string) string {
	return fmt.Sprintf(`SELECT %s AS "loss" %s GROUP BY %s`, lossRatio, q.from(clean), group)
}

// cells is the figure of the cells, or what below 0 stands for none. 0.0 makes it a float, as the figure is.
func (q influxQL) cells(figure, where string) string {
	const group = `GROUP BY /^(src|dst)${by:raw}$/`
	return fmt.Sprintf(`SELECT max("Value") AS "Value" FROM (SELECT ${cell:raw}("figure") AS "Value" FROM (%s) %s), `+
		`(SELECT 0.0 * sum("sent") - %d AS "Value" %s %s), (SELECT 0.0 * sum("sent") - %d AS "Value" %s %s) %s`,
		figure, group, -cellNoEvidence, q.from(and(`"sent" > 0`, where)), group, -cellNotSent, q.from(where), group, group)
}

func and(a, b string) string {
	if b == "" {
		return a
	}
	return a + " AND " + b
}

func (q influxQL) lossMatrix() target {
	return q.table("%s", q.cells(strings.Replace(q.pathLoss("*"), `"loss"`, `"figure"`, 1), ""))
}

func (q influxQL) rttMatrix() target {
	clock := influxMatch("clock", "clock")
	return q.table("%s", q.cells(fmt.Sprintf(`SELECT max("${rtt:raw}") AS "figure" %s GROUP BY *`, q.from(clock)), clock))
}

const influxPath = `"src", "dst", "family", "class"`

func (q influxQL) count(of pathState) target {
	sum := func(field, where string) string {
		return fmt.Sprintf(`SELECT count("n") AS "paths" FROM (SELECT sum(%q) AS "n" %s GROUP BY %s) WHERE "n" %s`, field, q.from(""), influxPath, where)
	}
	loss := func(where string) string {
		return fmt.Sprintf(`SELECT count("loss") AS "paths" FROM (%s) WHERE "loss" %s`, q.pathLoss(influxPath), where)
	}
	return q.table("%s", map[pathState]string{
		allPaths: sum("sent", ">= 0"), lossyPaths: loss("> 0"), deadPaths: loss(">= 1"), droppingPaths: sum("host_drops", "> 0"), unsentPaths: sum("not_sent", "> 0"),
	}[of])
}

func (q influxQL) worstLoss() target {
	return q.table(`SELECT top("loss", 25) AS "Value", %s FROM (%s)`, influxPath, q.pathLoss(influxPath))
}

func (q influxQL) worstRTT() target {
	return q.table(`SELECT top("rtt", 25) AS "Value", %[1]s, "clock" FROM (SELECT max("${rtt:raw}") AS "rtt" %[2]s GROUP BY %[1]s, "clock")`,
		influxPath, q.from(influxMatch("clock", "clock")))
}

func (q influxQL) lossyFlows() target {
	from := strings.Replace(q.from(""), "llama_path", "llama_flow", 1)
	return q.table(`SELECT top("lost", 50) AS "Value", %[1]s, "src_addr", "dst_addr", "src_port" FROM (SELECT sum("lost") AS "lost" %[2]s GROUP BY %[1]s, "src_addr", "dst_addr", "src_port") WHERE "lost" > 0`,
		influxPath, from)
}

const influxName = "[[tag_src]] → [[tag_dst]] IPv[[tag_family]] [[tag_class]]"

func (q influxQL) loss() target {
	return q.lines(influxName, `SELECT %s %s GROUP BY time($__interval), %s fill(none)`, lossRatio, q.from(clean), influxPath)
}

func (q influxQL) total(field, legend string) target {
	return q.lines(legend, `SELECT sum(%q) %s GROUP BY time($__interval) fill(null)`, field, q.from(""))
}

func (q influxQL) worst(field, legend string) target {
	return q.lines(legend+" [[tag_clock]]", `SELECT max(%q) %s GROUP BY time($__interval), "clock" fill(null)`, field, q.from(influxMatch("clock", "clock")))
}

func (q influxQL) figure(field, legend string) target {
	return q.lines(influxName+" [[tag_clock]] "+legend, `SELECT max(%q) %s GROUP BY time($__interval), %s, "clock" fill(null)`, field, q.from(influxMatch("clock", "clock")), influxPath)
}

func (q influxQL) marks(field, legend string) target {
	return q.lines(influxName+" "+legend, `SELECT max(%q) %s GROUP BY time($__interval), %s fill(null)`, field, q.from(""), influxPath)
}

func (q influxQL) byHostMax(field, word string) target {
	return q.lines("[[tag_src]] "+word, `SELECT max(%q) %s GROUP BY time($__interval), "src" fill(null)`, field, q.from(""))
}

func (q influxQL) agent(legend, function, field string) target {
	return q.lines("[[tag_src]] "+legend, `SELECT %s FROM "llama_agent" WHERE $timeFilter AND %s GROUP BY time($__interval), "src" fill(none)`,
		fmt.Sprintf(function, field), q.agentFilter)
}

func (q influxQL) rate(field, legend string) target {
	return q.agent(legend, `non_negative_derivative(max("%s"), 1s)`, field)
}

func (q influxQL) now(field, legend string) target { return q.agent(legend, `last("%s")`, field) }

func (q influxQL) sinkRate(suffix, legend string) target {
	return q.agent(legend+" [[col]]", `non_negative_derivative(max(/^sink_.*_%s$/), 1s)`, suffix)
}

func (q influxQL) sinkNow(suffix, legend string) target {
	return q.agent(legend+" [[col]]", `last(/^sink_.*_%s$/)`, suffix)
}

// agents relies on the time of a lone selector: it is that of its point.
func (q influxQL) agents() (target, string) {
	return q.table(`SELECT last("encoder_lines") AS "Value" FROM "llama_agent" WHERE $timeFilter AND %s GROUP BY "src"`, q.agentFilter), "Time"
}
