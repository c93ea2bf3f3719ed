// Package sink turns windows of measurements into Influx line protocol, hands
// them to outputs that may be slow or down without ever holding up the prober,
// and keeps the last window for the agent's read-only HTTP API.
//
// docs/fields.md is the reference of what is written; a test keeps the two equal.
package sink
