// Package collector measures: it sends STAMP probes over every flow (target,
// family, class, source port), matches the replies, and hands over one
// [probe.Window] after the other.
//
// One goroutine owns all sockets and all flows (loop.go):
//
//	schedule.go  whose turn is it     ──► emit.go     sendmmsg, marks a packet
//	kernel.go    where it measures    ──► packet.go   probes as whole frames, by choice
//	receive.go   stamps and replies   ──► flow.go     the slot of the probe
//	settle.go    how a probe ended    ──► direction.go  forward or reverse
//	window.go    counts per window    ──► report.go   merged in another goroutine
//
// A probe is judged once, when it is forgotten (Timing.Late after it was sent):
// until then its slot collects what is heard of it. Hence every figure of a
// window is final when the window is handed over, and nothing is counted twice.
package collector
