package sink

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// noTime is for histograms of which nobody knows when they began.
var noTime time.Time

// agentMetric is a field of llama_agent as a metric: llama_agent_NAME, times in seconds.
// It is untyped: most are counters and some are gauges, and the name tells which.
func agentMetric(f AgentField) prometheus.Metric {
	v := f.Float
	if !f.IsFloat {
		v = float64(f.Int)
	}
	name, scale := baseUnit(f.Name)
	desc := prometheus.NewDesc("llama_agent_"+name, "The field "+f.Name+" of llama_agent (docs/fields.md).", nil, nil)
	return prometheus.MustNewConstMetric(desc, prometheus.UntypedValue, v*scale)
}

// baseUnit turns a name that ends in a unit of time into one in seconds, as Prometheus
// has all times.
func baseUnit(name string) (base string, scale float64) {
	for suffix, scale := range map[string]float64{"_ns": 1e-9, "_us": 1e-6, "_ms": 1e-3} {
		if cut, ok := strings.CutSuffix(name, suffix); ok {
			return cut + "_seconds", scale
		}
	}
	return name, 1
}
