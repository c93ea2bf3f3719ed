package config

import "github.com/llama-agent/llama-agent/internal/probe"

// Spare is how many probes a second may be sent to t's address, and to all targets together,
// beside those that are configured: what max_rate_per_target and max_rate leave.
func (c *Config) Spare(t *probe.Target) (target, all float64) {
	p := &c.Probing
	each := func(flows int) float64 { return float64(flows) / p.Timing.Interval.Seconds() }
	here, total := 0, 0
	place := usualForm(t.Address)
	for i := range c.Targets {
		n := p.flows(&c.Targets[i])
		total += n
		if usualForm(c.Targets[i].Address) == place {
			here += n
		}
	}
	return float64(p.MaxRatePerTarget) - each(here), float64(p.MaxRate) - each(total)
}

// usualForm is an address as it is usually written, or the name s.
func usualForm(s string) string {
	if a := literal(s); a.IsValid() {
		return a.String()
	}
	return s
}
