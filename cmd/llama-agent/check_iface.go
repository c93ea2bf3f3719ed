package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/llama-agent/llama-agent/internal/hostinfo"
)

// stepJudgement is what one step of the ladder would be on one interface.
type stepJudgement struct {
	Step       string `json:"step"` // native, tc, generic, socket
	Works      bool   `json:"works"`
	Why        string `json:"why,omitempty"`
	Mend       string `json:"mend,omitempty"`
	LinkEffect string `json:"link_effect,omitempty"` // of attaching
}

// interfaces reads those that matter.
func (h *hostCheck) interfaces(ctx context.Context) []finding {
	r, err := hostinfo.Open()
	if err != nil {
		return []finding{{Name: "interface", Detail: err.Error()}}
	}
	defer r.Close()
	r.Owner = h.owner
	chosen, out := h.choose(ctx, r)
	for _, c := range chosen {
		i, err := r.Interface(c.Name)
		switch {
		case errors.Is(err, hostinfo.ErrNoInterface):
			out = append(out, finding{Name: "interface", Interface: c.Name, Detail: "there is no such interface (" + c.Why + ")", Mend: "see what there is: ip -br link"})
		case err != nil:
			out = append(out, finding{Name: "interface", Interface: c.Name, Detail: err.Error()})
		default:
			out = append(out, h.interfaceFindings(&i, c.Why)...)
			out = append(out, checkReversePath(c.Name, h.targets)...)
		}
	}
	return out
}

func (h *hostCheck) interfaceFindings(i *hostinfo.Interface, why string) []finding {
	out := []finding{checkInterface(i, why)}
	out = append(out, checkOffloads(i)...)
	out = append(out, checkModeration(i)...)
	out = append(out, checkNICStamps(i)...)
	out = append(out, checkPrograms(i)...)
	if h.judge == nil {
		out = append(out, checkDriverXDP(i)...)
	} else {
		for _, s := range h.judge(*i) {
			if s.Works && s.Step != "socket" && h.pin.Mend != "" {
				s.Works, s.Why = false, "not without the pin folder, see bpffs"
			}
			out = append(out, s.finding())
		}
	}
	for n := range out {
		out[n].Interface = i.Name
	}
	return out
}

func checkInterface(i *hostinfo.Interface, why string) finding {
	what := []string{i.Kind}
	if i.Kind == "lo" {
		what[0] = "loopback"
	}
	if i.Driver != "" && i.Driver != i.Kind {
		what = append(what, "driver "+i.Driver)
	}
	what = append(what, fmt.Sprintf("MTU %d", i.MTU), fmt.Sprintf("%d receive and %d transmit queues", i.RxQueues, i.TxQueues))
	if i.VFs > 0 {
		what = append(what, fmt.Sprintf("%d virtual functions", i.VFs))
	}
	if len(i.Lowers) > 0 {
		what = append(what, "on "+relatives(i.Lowers))
	}
	if len(i.Uppers) > 0 {
		what = append(what, "under "+relatives(i.Uppers))
	}
	f := finding{Name: "interface", OK: true, Data: i}
	switch {
	case !i.Up:
		f.OK, f.Mend = false, "ip link set dev "+i.Name+" up"
		what = append(what, "down")
	case !i.Carrier:
		f.OK, f.Mend = false, "no carrier: look at the cable, the optics and the port at the other end"
		what = append(what, "no carrier")
	}
	f.Detail = strings.Join(what, ", ") + " (" + why + ")"
	return f
}

func relatives(list []hostinfo.Relative) string {
	var out []string
	for _, r := range list {
		out = append(out, r.Name+" ("+r.Kind+")")
	}
	return some(out)
}

// checkDriverXDP stands in for the judgement of the steps.
func checkDriverXDP(i *hostinfo.Interface) []finding {
	if i.XDP == nil || i.Kind == "lo" {
		return nil
	}
	if !i.XDP.Native() {
		return []finding{{Name: "driver", Detail: "has no native XDP"}}
	}
	detail := "has native XDP"
	if !i.XDP.MultiBuffer() {
		detail += ", not for packets of more than one buffer"
	}
	if len(i.XDP.RxMetadata) > 0 {
		detail += "; gives programs " + strings.Join(i.XDP.RxMetadata, ", ")
	}
	return []finding{{Name: "driver", OK: true, Detail: detail}}
}

func (s *stepJudgement) finding() finding {
	f := finding{Name: "step " + s.Step, OK: s.Works, Detail: "works", Mend: s.Mend, Data: s}
	if !s.Works {
		f.Detail = "no"
	}
	if s.Why != "" {
		f.Detail += ": " + s.Why
	}
	if s.LinkEffect != "" {
		f.Detail += "; attaching " + s.LinkEffect
	}
	return f
}
