package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/llama-agent/llama-agent/internal/lab"
)

const stampPort = 862

// startReflector runs ours on the far host, over sockets: every guard on, the prober a peer,
// and its rate so high that it never caps.
func (b *bench) startReflector(core, workers int) (*process, error) {
	file, err := b.write("reflector.yaml", fmt.Sprintf(`host: {name: far}
datapath: {mode: socket}
reflector: {listen: [":%d"], peers: [%s/32], rate_peers: 10000000, workers: %d}
targets: {}
api: {listen: ""}
`, stampPort, b.place.near.IPv4, workers))
	if err != nil {
		return nil, err
	}
	return b.serve(b.place.far, core, stampPort, b.bin.agent, "run", "--config", file)
}

// probing is one run of our collector on the near host.
type probing struct {
	targets  int
	ports    int
	interval time.Duration
	window   time.Duration // 0: the default
	warm     time.Duration // before it is measured; 0: a moment
	at       netip.Addr    // of all targets, where the kernel answers
	link     string        // where the kernel measures
	kernel   string        // the step that measures: tc, native; empty: the sockets
	frames   bool          // probes leave as frames
	manyToo  bool          // an address each, whatever measures
}

// config is the agent's configuration; its lines go to the file at path.
func (p probing) config(path, pin string) string {
	var s strings.Builder
	datapath, listen := "mode: socket", ""
	if p.kernel != "" {
		datapath = fmt.Sprintf("mode: %s, interfaces: [%s], pin: %q", p.kernel, p.link, pin)
		listen = fmt.Sprintf(`":%d"`, stampPort)
	}
	fmt.Fprintf(&s, "host: {name: near}\ndatapath: {%s}\nreflector: {listen: [%s]}\napi: {listen: \"\"}\nsinks: [{file: {path: %s}}]\n",
		datapath, listen, path)
	fmt.Fprintf(&s, "probing: {ports: %d, interval: %s, max_rate: 10000000, max_rate_per_target: 10000000, max_cpu: 0", p.ports, p.interval)
	if p.frames {
		s.WriteString(", emit: packet")
	}
	if p.window > 0 {
		fmt.Fprintf(&s, ", window: %s", p.window)
	}
	s.WriteString("}\ntargets:\n")
	for i := range p.targets {
		fmt.Fprintf(&s, "  t%d: {%s}\n", i, p.target(i))
	}
	return s.String()
}

// target is an address each, or a port each of the one address that the kernel answers at.
func (p probing) target(i int) string {
	if p.kernel == "" || p.manyToo {
		return "address: " + many(i).String()
	}
	return fmt.Sprintf("address: %s, port: %d", p.at, kernelPort+i)
}

// probed is what came of it, by the agent's own lines and by the kernel.
type probed struct {
	usage           // without start and end
	own    float64  // MB, at the most meanwhile
	maps   float64  // MB in the kernel
	sent   uint64   // meanwhile, by the kernel
	totals totals   // of the whole run, by its own lines
	kernel counters // likewise, by the kernel
}

// rate is probes/s.
func (r probed) rate() float64 { return float64(r.sent) / r.elapsed.Seconds() }

// perProbe is CPU in µs.
func (r probed) perProbe() float64 { return r.cpu.Seconds() * 1e6 / float64(r.sent) }

// counters are growths of the kernel's UDP counters, of both hosts.
type counters struct{ out, nearDrops, farDrops uint64 }

// probe runs the collector on the measured core.
func (b *bench) probe(p probing, d time.Duration) (r probed, err error) {
	b.frames, p.link = p.frames, b.place.link
	lines := filepath.Join(b.bin.dir, "lines")
	_ = os.Remove(lines) // of the run before
	file, err := b.write("collector.yaml", p.config(lines, filepath.Join(b.bpffs, "near")))
	if err != nil {
		return r, err
	}
	before, err := b.kernel()
	if err != nil {
		return r, err
	}
	agent, err := b.start(b.place.near, measuredCore, b.bin.agent, "run", "--config", file)
	if err != nil {
		return r, err
	}
	defer agent.stop()
	if err := b.waitSending(agent, before.out); err != nil {
		return r, err
	}
	b.pause(max(p.warm, 300*time.Millisecond))
	own, err := agent.most(func() (err error) {
		r, err = b.sending(agent, d)
		return err
	})
	if err != nil {
		return r, err
	}
	r.own, r.maps = own, agent.kernelMaps()
	agent.stop()
	after, err := b.kernel()
	if err != nil {
		return r, err
	}
	r.kernel = counters{after.out - before.out, after.nearDrops - before.nearDrops, after.farDrops - before.farDrops}
	r.totals, err = readTotals(lines)
	return r, err
}

// sending measures a prober while it sends.
func (b *bench) sending(p *process, d time.Duration) (r probed, err error) {
	r.usage, err = p.during(func() error {
		from, err := b.kernel()
		if err != nil {
			return err
		}
		b.pause(d)
		to, err := b.kernel()
		r.sent = to.out - from.out
		return err
	})
	return r, err
}

// waitSending returns when the first probe has left.
func (b *bench) waitSending(agent *process, out uint64) error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); b.pause(10 * time.Millisecond) {
		k, err := b.kernel()
		if err != nil {
			return err
		}
		if err := agent.alive(); err != nil {
			return err
		}
		if k.out > out+2*toItself {
			return nil
		}
	}
	return fmt.Errorf("no probe left within 30 s\n%s", tail(agent.output.String()))
}

// kernel reads what the kernel counts.
func (b *bench) kernel() (c counters, err error) {
	for _, h := range []*lab.Host{b.place.near, b.place.far} {
		k, err := udpCounters(h)
		if err != nil {
			return c, err
		}
		if h == b.place.near {
			c.out, c.nearDrops = k["OutDatagrams"], k["RcvbufErrors"]
			if b.frames { // which no socket of UDP has sent
				if c.out, err = transmitted(h, b.place.link); err != nil {
					return c, err
				}
			}
		} else {
			c.farDrops = k["RcvbufErrors"]
		}
	}
	return c, nil
}

func (b *bench) write(name, text string) (string, error) {
	path := filepath.Join(b.bin.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// farTarget is the far host's reflector.
func (b *bench) farTarget() netip.AddrPort { return netip.AddrPortFrom(b.place.far.IPv4, stampPort) }
