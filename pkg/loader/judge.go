//go:build linux

package loader

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// A step goes down at most once in that time.
	leaveEvery = time.Hour
	// trialTime is for how long after an attachment missing replies speak against it.
	// Later they are what is to be measured.
	trialTime = 10 * time.Second
	// enough replies have to have come before that their end means something.
	enough = 10
)

// history remembers how many replies this host has had, a second apart.
type history struct {
	counts []uint64 // the newest last
}

// add begins anew where the count does, as that of another collector.
func (h *history) add(n uint64) {
	if last := len(h.counts) - 1; last >= 0 && n < h.counts[last] {
		h.counts = nil
	}
	if len(h.counts) > int(trialTime/judgeEvery) {
		h.counts = h.counts[:copy(h.counts, h.counts[1:])]
	}
	h.counts = append(h.counts, n)
}

// lately is how many replies came in the last seconds.
func (h *history) lately() uint64 {
	if len(h.counts) == 0 {
		return 0
	}
	return h.counts[len(h.counts)-1] - h.counts[0]
}

// A trial is the time just after an attachment.
type trial struct {
	until   time.Time
	answers uint64 // that this host had at its begin
}

// begin puts a new attachment on trial if replies came right up to it.
func (d *Datapath) begin(s *site, before uint64) {
	s.trial = nil
	if d.options.Answers != nil && before >= enough && s.Step != StepSocket {
		s.trial = &trial{until: time.Now().Add(trialTime), answers: d.options.Answers()}
	}
	s.failures, s.answered = d.transmitted(s)
}

// judge holds each step to the evidence against it.
func (d *Datapath) judge(ctx context.Context) {
	if d.options.Answers != nil {
		d.answers.add(d.options.Answers())
	}
	for _, s := range d.sorted() {
		why := d.against(s)
		if why == "" || !d.mayLeave(s) {
			continue
		}
		if err := d.leaveStep(ctx, s, why); err != nil {
			d.options.Log.Error("kernel datapath", "doing", "leave step", "interface", s.Interface.Name, "error", err)
		}
	}
}

func (d *Datapath) mayLeave(s *site) bool {
	return s.left.IsZero() || time.Since(s.left) >= leaveEvery
}

// against says what speaks against the step that an interface is on; "" if nothing does.
func (d *Datapath) against(s *site) string {
	if t := s.trial; t != nil && time.Now().After(t.until) {
		s.trial = nil
		if d.options.Answers() == t.answers {
			return fmt.Sprintf("no reply to this host's own probes has come for %s since it was attached, and many had right up to it", trialTime)
		}
	}
	if s.Step != StepNative {
		return ""
	}
	failures, answered := d.transmitted(s)
	newFailures, newAnswers := failures.since(s.failures), answered-s.answered
	if newAnswers < enough {
		return "" // at a low rate it takes longer
	}
	s.failures, s.answered = failures, answered
	// What fails now and then is a full ring, which is loss to be measured.
	if newFailures >= newAnswers/2 {
		return fmt.Sprintf("the driver failed to transmit %d frames while the program answered %d", newFailures, newAnswers)
	}
	return ""
}

// failures are frames that did not leave.
type failures struct {
	driver    uint64 // by its statistics, since whenever
	exception uint64 // by the tracepoint
}

// since is how many more there are. Some drivers count what raises an exception too: the two are not added.
func (f failures) since(before failures) uint64 {
	return max(growth(f.driver, before.driver), growth(f.exception, before.exception))
}

// growth of a counter that may have begun anew, as a driver's does with its rings.
func growth(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// transmitted is what the driver and the kernel say of frames that did not leave, and the program of its answers.
func (d *Datapath) transmitted(s *site) (failed failures, answered uint64) {
	if s.Step != StepNative {
		return failed, 0
	}
	stats, err := driverXDPErrors(s.Interface.Name)
	if err != nil {
		return s.failures, s.answered // nothing is known now
	}
	raised, err := d.object.exceptionsAt(s.Interface.Index, d.options.Log)
	if err != nil {
		return s.failures, s.answered
	}
	c, err := d.object.interfaceCounters(s.Interface.Index)
	if err != nil {
		return s.failures, s.answered
	}
	return failures{sum(stats), raised}, c.Answered
}

// leaveStep takes the next step down. In a mode that names a step there is none:
// the sockets answer then, and that is said.
func (d *Datapath) leaveStep(ctx context.Context, s *site, why string) error {
	from := s.Step
	s.left, s.trial = time.Now(), nil
	err := s.stepDown(ctx, why)
	d.show()
	d.options.Log.Warn("step of the kernel datapath left", "interface", s.Interface.Name, "from", from.String(), "to", s.Step.String(), "why", why)
	if errors.Is(err, ErrStep) {
		return nil
	}
	return err
}
