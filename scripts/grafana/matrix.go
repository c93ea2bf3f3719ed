package main

import "strings"

// uid is fixed, so that dashboards can link to each other.
func uid(s source, name string) string { return "llama-" + name + "-" + s.name() }

func newDashboard(s source, name, title, description string, b *board, variables ...variable) dashboard {
	return dashboard{
		UID: uid(s, name), Title: "LLAMA " + title + " (" + s.title() + ")", Description: description,
		Tags: []string{"llama", "llama-" + s.name()}, SchemaVersion: schemaVersion, Editable: true, GraphTooltip: 1,
		Refresh: "30s", Time: timeRange{From: "now-15m", To: "now"},
		Links: []link{{
			Title: "LLAMA", Type: "dashboards", Tags: []string{"llama-" + s.name()}, IncludeVars: false, KeepTime: true, AsDropdown: true,
		}},
		Templating: templating{List: append([]variable{datasource(s)}, variables...)},
		Panels:     b.panels,
	}
}

// matrix is the fleet at a glance: who loses what towards whom, and how long it takes.
func matrix(s source, tags []string) dashboard {
	b := &board{source: s}
	b.row(4,
		number("Paths", "Source, destination, IP version and class that reported.", s.count(allPaths), steps("text")),
		number("With loss", "In windows in which the source's host dropped nothing itself.", s.count(lossyPaths), steps("green", from(1, "orange"))),
		number("No reply at all", "All probes of all such windows lost.", s.count(deadPaths), steps("green", from(1, "red"))),
		number("Host drops", "Paths whose source's own queues or interfaces dropped packets: no evidence against the network.", s.count(droppingPaths), steps("green", from(1, "blue"))),
		number("Not sent", "Paths with probes that never left their host.", s.count(unsentPaths), steps("green", from(1, "blue"))),
	)
	links := []link{
		{Title: "These paths", URL: "/d/" + uid(s, "pair") + "/llama?" + cellQuery("${by:text}", "${__data.fields[0]}", "${__field.name}")},
		{Title: "Hosts of this cell", URL: "/d/" + uid(s, "matrix") + "/llama?var-by=" + urlQuery(s.byHost()) + "&${cell:queryparam}&${rtt:queryparam}&" +
			cellQuery("${by:text}", "${__data.fields[0]}", "${__field.name}")},
	}
	b.row(14, cells("Loss", "Part of the probes that was lost, of windows in which the source's host dropped nothing itself. Row: source. Column: destination. Empty: nobody probes it. "+
		"\"own drops\": no window without. Loss is not of a clock: windows of all clocks count.",
		s.lossMatrix(), fieldDefaults{Unit: "percentunit", Decimals: ptr(2), Thresholds: lossSteps, Mappings: noFigure("own drops", "blue")}, links...))
	rtt := cells("RTT, ${rtt:text}, clock $clock", s.rttOf()+" \"no reply\": probes left and none came back. A matrix a clock, since they must not be compared to the microsecond.",
		s.rttMatrix(), fieldDefaults{Unit: "µs", Decimals: ptr(0), Thresholds: rttSteps, Mappings: noFigure("no reply", "dark-purple")}, links...)
	rtt.Repeat, rtt.RepeatDirection = "clock", "v"
	b.row(14, rtt)
	pathLink := link{Title: "This path", URL: "/d/" + uid(s, "pair") + "/llama?${datasource:queryparam}&var-src_host=${__data.fields.src}&var-dst_host=${__data.fields.dst}" +
		"&var-class=${__data.fields.class}&var-family=${__data.fields.family}&${__url_time_range}"}
	b.row(10,
		table("Worst loss", "Paths, likewise of windows without own drops.", "loss", s.worstLoss(), fieldDefaults{Unit: "percentunit", Thresholds: lossSteps}, pathLink),
		table("Worst RTT, ${rtt:text}", s.rttOf(), "RTT", s.worstRTT(), fieldDefaults{Unit: "µs", Thresholds: rttSteps}, pathLink),
	)
	variables := append([]variable{s.by(tags), cellVariable(s), rttVariable(s)}, pathFilters(s, tags)...)
	return newDashboard(s, "matrix", "matrix", "Loss and RTT, source by destination.", b, append(variables, clock(s))...)
}

// cellQuery chooses the paths of a cell in another dashboard.
func cellQuery(by, source, destination string) string {
	return "${datasource:queryparam}&var-src_" + by + "=" + source + "&var-dst_" + by + "=" + destination +
		"&${class:queryparam}&${family:queryparam}&${__url_time_range}"
}

// urlQuery escapes what fixed values have.
func urlQuery(s string) string {
	return strings.NewReplacer("{", "%7B", "}", "%7D", ",", "%2C").Replace(s)
}

// cellVariable is how the paths of a cell become one figure.
func cellVariable(s source) variable {
	mean := "avg"
	if s.plugin() == "influxdb" {
		mean = "mean"
	}
	return custom("cell", "Cell shows", []option{{Selected: true, Text: "worst path", Value: "max"}, {Text: "mean of its paths", Value: mean}})
}

// rttFields are fields of llama_path.
func rttFields() (all []option) {
	for _, o := range [][2]string{{"99 %", "p99"}, {"median", "p50"}, {"90 %", "p90"}, {"mean", "mean"}, {"minimum", "min"}, {"maximum", "max"}} {
		all = append(all, option{Text: o[0], Value: "rtt_" + o[1] + "_us"})
	}
	return all
}

func rttVariable(s source) variable {
	options := s.rtts()
	options[0].Selected = true
	return custom("rtt", "RTT", options)
}
