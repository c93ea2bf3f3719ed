package sink

import (
	"fmt"
	"time"
)

// AgentField is one of the agent's own counters or gauges: an int64 or, if IsFloat,
// a float64.
type AgentField struct {
	Name    string // a to z, 0 to 9 and _, a letter first
	Int     int64
	Float   float64
	IsFloat bool
}

// AgentInt returns a whole number as a field.
func AgentInt(name string, v int64) AgentField { return AgentField{Name: name, Int: v} }

// AgentFloat returns a float as a field.
func AgentFloat(name string, v float64) AgentField {
	return AgentField{Name: name, Float: v, IsFloat: true}
}

// AgentStats is one llama_agent line: what the agent says of itself. Fields are
// written in their order.
type AgentStats struct {
	Time   time.Time
	Fields []AgentField
}

// Agent appends the line of s to dst. A field whose name is none, or that is not a
// number, is left out and counted; a line without a field is withheld.
func (e *Encoder) Agent(dst []byte, s *AgentStats) (out []byte, lines int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.Time.IsZero() {
		return dst, 0, fmt.Errorf("encode agent statistics: they have no time")
	}
	before := e.begin(dst)
	e.tags.tags = e.tags.tags[:0]
	if !e.tags.identity(tagSrc, e.host.Name) {
		e.withhold("agent statistics: the host has no name")
		return e.finish(before)
	}
	e.tags.prefixed("src_", e.host.Tags)
	e.start(MeasurementAgent)
	e.fields(s.Fields)
	e.end(s.Time)
	return e.finish(before)
}

func (e *Encoder) fields(fields []AgentField) {
	for i := range fields {
		switch f := &fields[i]; {
		case !agentName(f.Name):
			e.stats.FieldsInvalid++
		case f.IsFloat:
			e.float(f.Name, f.Float)
		default:
			e.integer(f.Name, f.Int)
		}
	}
}

func agentName(name string) bool {
	if name == "" || name[0] < 'a' || name[0] > 'z' || len(name) > 128 {
		return false
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// Fields returns the counters under the names that llama_agent has for them.
func (s EncoderStats) Fields() []AgentField {
	return []AgentField{
		AgentInt("encoder_lines", int64(s.Lines)),
		AgentInt("encoder_withheld", int64(s.Withheld)),
		AgentInt("encoder_tags_sanitised", int64(s.TagsSanitised)),
		AgentInt("encoder_tags_dropped", int64(s.TagsDropped)),
		AgentInt("encoder_fields_invalid", int64(s.FieldsInvalid)),
	}
}
