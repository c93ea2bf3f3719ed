package reflector

import (
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"
)

// noticePeriod is how often one reason is logged at most.
const noticePeriod = time.Minute

// notices logs what a person can mend, once a minute and reason; the counters
// have the rest.
type notices struct {
	next [numReasons]atomic.Int64 // ns monotonic, before which nothing is logged
}

// log is called at now (ns, monotonic) with what went wrong and to whom.
func (n *notices) log(log *slog.Logger, now int64, why Reason, err error, local, to netip.AddrPort) {
	if mends[why] == "" {
		return
	}
	next := n.next[why].Load()
	if now < next || !n.next[why].CompareAndSwap(next, now+int64(noticePeriod)) {
		return
	}
	log.Warn("replies cannot be sent", "reason", why.String(), "error", err,
		"from", local, "to", to, "mend", mends[why])
}
