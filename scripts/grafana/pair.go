package main

// Colours: what the network did is red, orange and yellow; what the hosts did to themselves is blue.
var endings = map[string]string{
	"lost forward": "red", "lost in reverse": "dark-orange", "lost, direction unknown": "dark-red", "refused": "purple", "unreachable": "dark-purple", "late": "yellow",
	"dropped by the prober's host": "blue", "not sent": "light-blue",
}

// pair is what is known of the paths chosen above: of one, or of all between two racks.
func pair(s source, tags []string) dashboard {
	b := &board{source: s}
	b.row(9,
		lines("Loss", "percentunit", "Of each path. Steps with host_drops are left out: they are no evidence against the network, and stand below.", s.loss()),
		stack("Probes that did not come back in time", "short", "Of all chosen paths, by what became of them. Blue: never the network's.", endings,
			s.total("lost_forward", "lost forward"), s.total("lost_reverse", "lost in reverse"), s.total("lost_unsplit", "lost, direction unknown"),
			s.total("refused", "refused"), s.total("unreachable", "unreachable"), s.total("late", "late"),
			s.total("local_drop", "dropped by the prober's host"), s.total("not_sent", "not sent")),
	)
	b.row(9,
		lines("RTT", "µs", "Of the worst path: quantiles of several paths do not add up. No reply: no value. A line a clock.",
			s.worst("rtt_min_us", "minimum"), s.worst("rtt_p50_us", "median"), s.worst("rtt_p90_us", "90 %"), s.worst("rtt_p99_us", "99 %"), s.worst("rtt_p999_us", "99.9 %"), s.worst("rtt_max_us", "maximum")),
		lines("RTT, median of each path", "µs", "Compare lines of one clock only.", s.figure("rtt_p50_us", "")),
	)
	b.row(8,
		lines("Jitter", "µs", "RFC 3550, over round trips.", s.figure("jitter_us", "")),
		lines("Held back by hosts", "µs", "99 % of the time that the responder kept a probe (not in the RTT), and of how late the prober sent.",
			s.worst("responder_p99_us", "responder"), s.worst("send_late_p99_us", "sent late")),
	)
	oneWay := lines("One-way delay, median", "µs", "Only with probing.one_way. As good as the clocks of both hosts are: each figure may be off by the error, one way up and the other down.",
		s.figure("owd_forward_p50_us", "forward"), s.figure("owd_reverse_p50_us", "reverse"), s.figure("owd_error_us", "error"))
	oneWay.FieldConfig.Defaults.Min = nil // below 0 where clocks disagree by more than the delay
	b.row(8, oneWay,
		lines("Largest packet that passed", "bytes", "Only with probing.sizes. Below what was sent for several windows: a black hole by size.",
			s.marks("size_max", "passed"), s.marks("size_max_sent", "sent")),
	)
	b.heading("Is it the host? Above 0, look there before the network")
	b.row(8,
		lines("Host drops", "short", "Growth of the drop counters of a source's interfaces and queues, in the worst window.", s.byHostMax("host_drops", "host drops")),
		lines("Not sent", "short", "Due, and did not leave. Reasons: the dashboard of the agents.", s.marks("not_sent", "")),
		lines("Dropped on arrival", "short", "Replies that reached the prober's host and were dropped there.", s.marks("local_drop", "")),
	)
	b.heading("Which way they went")
	b.row(8,
		lines("Hops", "none", "Routers on the way, by the TTL.", s.marks("hops_forward", "forward"), s.marks("hops_reverse", "reverse")),
		lines("DSCP", "none", "As probes and replies arrived.", s.marks("dscp_forward", "forward"), s.marks("dscp_reverse", "reverse")),
		stack("Flows", "short", "5-tuples of all chosen paths. Some of them lossy, others not: one of several equal paths.", nil,
			s.total("flows_lossy", "with loss"), s.total("flows_path_changed", "number of hops changed"), s.total("flows_remarked", "DSCP changed")),
	)
	b.row(9, table("Lossy flows", "5-tuples with the most loss: the same source ports again and again are one path of several.", "lost", s.lossyFlows(),
		fieldDefaults{Unit: "short", Thresholds: steps("green", from(1, "orange"))}))
	return newDashboard(s, "pair", "pair", "One path, or those between two groups of hosts.", b, append(pathFilters(s, tags), clock(s))...)
}
