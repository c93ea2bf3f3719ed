//go:build linux

package loader

import (
	"testing"
)

// answered runs the request, which has to be answered, and verifies the reply.
func (r *rig) answered(kind int, req *packet, a arrival) []byte {
	r.t.Helper()
	reason := "replied"
	if a.stateless {
		reason = "stateless"
	}
	from := monotonic()
	out := r.must(kind, req.bytes(), reason)
	r.verify(req, out, a, from, monotonic())
	return out
}

func TestReflect(t *testing.T) {
	r := newRig(t)
	eachKind(t, r, func(_ *testing.T, r *rig, kind int) {
		r.answered(kind, request(false), arrival{rx: 1, tx: 1})
		r.answered(kind, request(true), arrival{rx: 1, tx: 1})
		r.answered(kind, request(false), arrival{rx: 2, tx: 2})
	})
}
