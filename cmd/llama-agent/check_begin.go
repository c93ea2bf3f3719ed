package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/loader"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// checkAPI listens as the agent would, for a moment.
func checkAPI(cfg *config.Config) []finding {
	if cfg.API.Listen == "" {
		return nil
	}
	f := finding{Name: "api", OK: true, Detail: "tcp " + cfg.API.Listen}
	l, err := net.Listen("tcp", cfg.API.Listen)
	if err == nil {
		_ = l.Close() // nothing was accepted
		return []finding{f}
	}
	f.OK, f.Detail, f.Mend = false, err.Error(), `choose another api.listen, or "" for none`
	switch {
	case errors.Is(err, unix.EADDRINUSE): // perhaps by the agent itself
		f.Mend = "if that is not the agent: " + f.Mend + "; see who has it with: ss -ltnp"
		return []finding{f}
	case errors.Is(err, unix.EADDRNOTAVAIL):
		f.Mend += "; see what there is with: ip address"
	}
	f.ends = "the API cannot listen as configured"
	return []finding{f}
}

// mode is of one that names a step: it is had, or the agent does not run.
func (h *hostCheck) mode() []finding {
	mode, err := loader.ParseMode(h.cfg.Datapath.Mode)
	if err != nil || mode == loader.ModeAuto || mode == loader.ModeSocket || len(h.cfg.Reflector.Listen) == 0 {
		return nil
	}
	name := "datapath.mode: " + mode.String()
	switch {
	case h.start == nil:
		err = errors.New("bpf(2) does not answer this process")
	case !h.pin.OK:
		err = errors.New(h.pin.Detail)
	default:
		err = h.start(mode)
	}
	if err == nil {
		return []finding{{Name: "mode", OK: true, Detail: name + " can be had, as far as that shows without attaching"}}
	}
	return []finding{{Name: "mode", Detail: fmt.Sprintf("%s cannot be had: %v", name, err),
		Mend: "do what the findings above say, or set datapath.mode: auto, which takes what there is", ends: name + " cannot be had"}}
}

// checkSinks says which cannot be begun. Whether a database answers is not asked: the
// agent starts without it.
func checkSinks(cfg *config.Config) (out []finding) {
	for _, s := range cfg.Sinks {
		if f := checkSink(&s); f.Detail != "" {
			out = append(out, f)
		}
	}
	return out
}

func checkSink(s *config.Sink) finding {
	const ends = "a sink cannot be had as configured"
	if s.Kind == config.KindFile {
		f := finding{Name: "sink", OK: true, Detail: "file " + s.File.Path}
		if err := sink.TryFile(s.File.Path); err != nil {
			f = finding{Name: "sink", Detail: err.Error(), Mend: mendFile(s.File.Path, err), ends: ends}
		}
		return f
	}
	w, err := (&agent{stdout: io.Discard}).writerOf(s)
	if err != nil {
		return finding{Name: "sink", Detail: err.Error(), Mend: "see docs/configuration.md, sinks", ends: ends}
	}
	_ = w.Close() // nothing was written
	return finding{}
}

func mendFile(path string, err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("as root: install -d -o %d -m 0750 %s; or choose another path", unix.Geteuid(), filepath.Dir(path))
	}
	return fmt.Sprintf("choose a file that uid %d may write, in a folder where it may make one", unix.Geteuid())
}
