package main

// notSent are the reasons of docs/fields.md.
var notSent = []string{
	"overrun", "no_route", "no_neighbour", "filtered", "no_buffer", "send_buffer", "too_big", "link_down", "no_source", "source_port", "in_flight",
	"never_left", "slowed", "other",
}

// agents is the health of what measures: why a figure is missing.
func agents(s source) dashboard {
	b := &board{source: s}
	var reasons []target
	for _, r := range notSent {
		reasons = append(reasons, s.rate("collector_not_sent_"+r, r))
	}
	t, column := s.agents()
	seen := table("Agents", "When the last line of each came. One that is older than a few windows is dead, or its lines do not get through.", "last seen", t, fieldDefaults{})
	seen.FieldConfig.Overrides[0].Properties = []property{{ID: "unit", Value: "dateTimeFromNow"}}
	seen.Transformations[0].Options["excludeByName"] = map[string]bool{"Time": column != "Time", "Value": column != "Value"}
	seen.Transformations[0].Options["renameByName"] = map[string]string{column: "last seen"}
	seen.Options["sortBy"] = []map[string]any{{"displayName": "last seen", "desc": false}}
	b.row(9, seen,
		lines("Probes", "pps", "Sent and answered.", s.rate("collector_sent", "sent"), s.rate("collector_replies", "answered")))
	b.row(9,
		lines("Probes not sent, by reason", "pps", "overrun and slowed: this host has no time for it. no_route, filtered, link_down, no_source: its network set-up.", reasons...),
		lines("Own drops", "pps", "Replies lost on this host (counted as local_drop), and requests lost before the reflector (others see them as lost forward).",
			s.rate("collector_socket_drops", "replies, at sockets"), s.rate("kernel_ring_full", "replies, ring full"), s.rate("reflector_kernel_drops", "requests, at sockets")),
	)
	b.row(8,
		lines("Spared", "none", "1: the full rate. 10: every tenth probe is sent, the agent took more CPU than it may. Targets not probed: the agent's log says which.",
			s.now("collector_slowdown", "slow-down"), s.now("targets_not_probed", "targets not probed")),
		lines("Reflector", "pps", "Requests answered, and kept from being answered by a rate or by who may ask.",
			s.rate("kernel_replied", "in the kernel"), s.rate("reflector_replied", "by sockets"), s.rate("reflector_rate_peer", "above the peers' rate"),
			s.rate("reflector_rate_stranger", "above the strangers' rate"), s.rate("reflector_not_allowed", "not allowed")),
		lines("Datapath", "none", "Interfaces on each step of the ladder.",
			s.now("kernel_interfaces_native", "native XDP"), s.now("kernel_interfaces_tc", "TC"), s.now("kernel_interfaces_generic", "generic XDP"), s.now("kernel_interfaces_socket", "sockets")),
	)
	b.heading("Delivery: what waits, and what was given up")
	b.row(8,
		lines("Lines delivered", "short", "A second.", s.sinkRate("delivered_lines", "")),
		lines("Lines waiting", "short", "In the spool or in memory.", s.sinkNow("waiting_lines", "")),
		lines("Age of the oldest that waits", "s", "", s.sinkNow("oldest_seconds", "")),
	)
	b.row(8,
		lines("Waiting", "bytes", "As it is kept on disk or in memory.", s.sinkNow("waiting_bytes", "")),
		lines("Lines given up", "short", "A second: no room, too old, torn, refused.", s.sinkRate("dropped_full_lines", "no room"), s.sinkRate("dropped_age_lines", "too old"),
			s.sinkRate("dropped_damaged_lines", "damaged"), s.sinkRate("refused_lines", "refused")),
		lines("Attempts that failed", "short", "A second.", s.sinkRate("errors_network", "network"), s.sinkRate("errors_timeout", "timeout"), s.sinkRate("errors_auth", "401, 403"),
			s.sinkRate("errors_http_4xx", "4xx"), s.sinkRate("errors_http_5xx", "5xx"), s.sinkRate("errors_busy", "busy")),
	)
	return newDashboard(s, "agents", "agents", "The agents themselves: probes, drops, delivery.", b, choice(s, "src_host", "Host", "llama_agent", "src", nil))
}
