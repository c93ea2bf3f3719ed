package sink

import "time"

// DropReason says why a batch was given up.
type DropReason int

// The reasons.
const (
	DropFull    DropReason = iota // no room: the oldest goes
	DropAge                       // older than the spool keeps
	DropPoison                    // the destination failed on it every time while it took others: put aside
	DropDamaged                   // its file is torn or changed: put aside
	DropStopped                   // not on disk, and not delivered by the end
	DropIntake                    // never accepted: the disk did not keep up, or the end came first
	DropReasons                   // how many there are
)

var dropNames = [DropReasons]string{"full", "age", "poison", "damaged", "stopped", "intake"}

// String is the reason's name in counters.
func (r DropReason) String() string { return dropNames[r] }

// ErrorClass is the kind of a failure to deliver.
type ErrorClass int

// The classes.
const (
	ErrorNetwork ErrorClass = iota // no connection, or it broke
	ErrorTimeout                   // no answer in time
	ErrorTLS                       // a certificate or a handshake
	ErrorAuth                      // 401, 403
	ErrorBusy                      // 408, 429
	ErrorHTTP4xx                   // others of 400 to 499
	ErrorHTTP5xx                   // 500 to 599
	ErrorAnswer                    // an answer that no write API gives: a redirect, a web page
	ErrorLocal                     // a file or a stream of this host
	ErrorClasses                   // how many there are
)

var classNames = [ErrorClasses]string{"network", "timeout", "tls", "auth", "busy", "http_4xx", "http_5xx", "answer", "local"}

// String is the class's name in counters.
func (c ErrorClass) String() string { return classNames[c] }

// Tally is a count of batches, and of the lines in them.
type Tally struct{ Batches, Lines uint64 }

func (t *Tally) add(lines int) {
	t.Batches++
	t.Lines += uint64(lines)
}

// Stats says what became of an output's batches. Those accepted and recovered are
// delivered, dropped, or waiting; of their lines some may be refused. What is dropped
// at the intake was never accepted.
type Stats struct {
	Accepted  Tally              // on disk, or in memory where there is no spool
	Recovered Tally              // found in the spool when it was opened
	Delivered Tally              // settled with the destination; lines: those it took
	Dropped   [DropReasons]Tally // by reason
	Refused   uint64             // lines that the destination would not have: put aside
	Retries   uint64             // attempts that failed and are made again
	Errors    [ErrorClasses]uint64

	Waiting      Tally         // now; the batch under way is one of them
	WaitingBytes int64         // octets of these, as they are kept
	OldestAge    time.Duration // of the oldest of these; 0: none
	Unsaved      int           // of these, batches for which there is a spool and that are in memory only
}

// DroppedAll is what was given up for any reason.
func (s Stats) DroppedAll() (all Tally) {
	for _, t := range s.Dropped {
		all.Batches += t.Batches
		all.Lines += t.Lines
	}
	return all
}

// Fields returns the counters under the names that llama_agent has for them.
func (s Stats) Fields(prefix string) []AgentField {
	var out []AgentField
	number := func(name string, v uint64) { out = append(out, AgentInt(prefix+name, int64(v))) }
	tally := func(name string, t Tally) {
		number(name+"_batches", t.Batches)
		number(name+"_lines", t.Lines)
	}
	tally("accepted", s.Accepted)
	tally("recovered", s.Recovered)
	tally("delivered", s.Delivered)
	for r, t := range s.Dropped {
		tally("dropped_"+DropReason(r).String(), t)
	}
	number("refused_lines", s.Refused)
	number("retries", s.Retries)
	for c, n := range s.Errors {
		number("errors_"+ErrorClass(c).String(), n)
	}
	tally("waiting", s.Waiting)
	number("waiting_bytes", uint64(s.WaitingBytes))
	out = append(out, AgentFloat(prefix+"oldest_seconds", s.OldestAge.Seconds()))
	number("unsaved_batches", uint64(s.Unsaved))
	return out
}
