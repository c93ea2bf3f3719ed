package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/stamp"
	"github.com/llama-agent/llama-agent/pkg/collector"
	"github.com/llama-agent/llama-agent/pkg/loader"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// pingFlags is what the user asked of ping.
type pingFlags struct {
	count, ports, size     int
	interval, timeout      time.Duration
	dscp                   []string
	mode, output, keyFile  string
	maxLoss                float64
	maxRTT                 time.Duration
	four, six, noTLV, noID bool
	source, device         string
}

func newPing() *cobra.Command {
	var f pingFlags
	cmd := &cobra.Command{
		Use:   "ping HOST[:PORT]...",
		Short: "Measure loss and latency to reflectors, now",
		Long: `ping sends STAMP probes to reflectors (llama-agent, or any RFC 8762 reflector; UDP
port 862 by default) and prints what became of them. A run sends targets x classes x
ports x count probes.

RTT is the network's: the responder's own delay is taken out and shown by itself.
Both stamps of an RTT come from the kernel: clock kernel, from a program where probes
leave the interface and replies come in, which needs CAP_BPF, CAP_PERFMON and
CAP_NET_ADMIN; else clock socket, from the sockets. --mode names one, so that they can
be held against each other.

Exit status 0: within the limits; 1: beyond them, or nothing came back; 2: wrong
usage, or something could not be set up, such as a name that does not resolve.`,
		Example: `  llama-agent ping 10.0.2.7
  llama-agent ping --count 10 --ports 16 --dscp ef a1-h1 a1-h2:8620
  llama-agent ping --count 1000 --interval 10ms --max-loss 0.001 --max-rtt 200us --output json 10.0.2.7`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ping(cmd.Context(), &f, args, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	p := cmd.Flags()
	p.IntVarP(&f.count, "count", "c", 0, "probes of each flow (default: until Ctrl-C)")
	p.DurationVarP(&f.interval, "interval", "i", time.Second, "time between two probes of one flow, at least 1ms")
	p.IntVar(&f.ports, "ports", 1, "source ports, thus flows, a target and class")
	p.StringSliceVar(&f.dscp, "dscp", []string{"be"}, "class: a name (be, ef, cs0-cs7, af11-af43) or 0 to 63; several with commas")
	p.IntVarP(&f.size, "size", "s", 0, "octets of a probe, as UDP payload (default 68: base packet and two TLVs)")
	p.DurationVar(&f.timeout, "timeout", 500*time.Millisecond, "a reply after that is late; waited for up to 1.5s more")
	p.StringVar(&f.mode, "mode", "auto", "where stamps are taken: socket, tc, generic or native (XDP: no agent may have the interface), or auto: tc if it can be had, else socket")
	p.Float64Var(&f.maxLoss, "max-loss", 0, "highest share, 0 to 1, of probes without a reply in time")
	p.DurationVar(&f.maxRTT, "max-rtt", 0, "highest 99th percentile of the RTT (default: none)")
	p.StringVarP(&f.output, "output", "o", "text", "text, json (one object a target and line) or influx (line protocol)")
	p.StringVar(&f.source, "source", "", "source `address`")
	p.StringVar(&f.device, "device", "", "`name` of an interface to leave by, or of a VRF to probe in (default: by the route)")
	p.StringVar(&f.keyFile, "key-file", "", "`file` with the key for authenticated probes")
	p.BoolVarP(&f.four, "ipv4", "4", false, "IPv4 only")
	p.BoolVarP(&f.six, "ipv6", "6", false, "IPv6 only")
	p.BoolVar(&f.noTLV, "no-tlv", false, "bare probes of 44 octets, for reflectors that mishandle TLVs")
	p.BoolVar(&f.noID, "no-ssid", false, "for reflectors that return no SSID: each class has source ports of its own")
	return cmd
}

func ping(ctx context.Context, f *pingFlags, hosts []string, stdout, stderr io.Writer) (err error) {
	o, err := f.options(hosts)
	if err != nil {
		return err
	}
	var window *probe.Window
	o.Emit = func(w *probe.Window) { window = w }
	o.Log = slog.New(slog.DiscardHandler)
	live := newLiveLine(stdout, f.output == "text")
	if live != nil {
		o.Observe = live.observe
	}
	kernel, err := f.startKernel(ctx, &o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kernel.stop()) }()
	c, err := collector.New(o)
	if err != nil {
		return err
	}
	if f.output == "text" {
		printHead(stdout, f, &o)
	}
	live.start()
	err = c.Run(ctx)
	live.stop()
	if err != nil {
		return err
	}
	err = f.print(stdout, window)
	if f.output == "json" {
		err = errors.Join(err, printUnprobed(stdout, c.Targets()))
	}
	if err != nil {
		return fmt.Errorf("print results: %w", err)
	}
	if err := unprobed(c.Targets(), stderr); err != nil {
		return err
	}
	return f.judge(window, stderr)
}

// unprobed tells of targets that could not even be asked.
func unprobed(states []collector.TargetState, stderr io.Writer) error {
	var names []string
	for _, s := range states {
		if s.Err != nil {
			fmt.Fprintf(stderr, "llama-agent: %s: %v\n", s.Name, s.Err)
			names = append(names, s.Name)
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("not probed: %s", strings.Join(names, ", "))
	}
	return nil
}

// judge holds the measurement against the limits.
func (f *pingFlags) judge(w *probe.Window, stderr io.Writer) (err error) {
	if w == nil || len(w.Paths) == 0 {
		return errors.New("no probe was due before the end")
	}
	for i := range w.Paths {
		p := &w.Paths[i]
		if why := f.beyond(p); why != "" {
			err = errBeyond
			if f.output == "text" {
				fmt.Fprintf(stderr, "%s %s: %s\n", p.Dst, p.Class.Name, why)
			}
		}
	}
	return err
}

// beyond says why a path is beyond the limits; "" if it is not. A port that
// refuses or a reply that is late is no success, though it is no loss either.
func (f *pingFlags) beyond(p *probe.Path) string {
	if p.Received == 0 {
		return "nothing came back in time"
	}
	missing := float64(p.Sent-p.LocalDrop-p.Received) / float64(p.Sent-p.LocalDrop)
	if missing > f.maxLoss {
		return fmt.Sprintf("%.4g of the probes had no reply in time, limit %g", missing, f.maxLoss)
	}
	if f.maxRTT == 0 {
		return ""
	}
	s, ok := p.RTT.Summary()
	if !ok {
		return "no RTT to hold against --max-rtt"
	}
	if s.P99 > float64(f.maxRTT) {
		return fmt.Sprintf("RTT p99 %s µs, limit %s", micros(s.P99), f.maxRTT)
	}
	return ""
}

func (f *pingFlags) options(hosts []string) (o collector.Options, err error) {
	var errs []error
	bad := func(when bool, format string, args ...any) {
		if when {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(f.count < 0, "--count %d is below 0", f.count)
	_, err = loader.ParseMode(f.mode)
	bad(err != nil, "--mode: %w", err)
	bad(f.ports < 1 || f.ports > 4096, "--ports %d is not 1 to 4096", f.ports)
	bad(f.interval < collector.MinInterval, "--interval %s is below %s", f.interval, collector.MinInterval)
	bad(f.timeout <= 0 || f.timeout > time.Minute, "--timeout %s is not above 0 and up to 1m", f.timeout)
	bad(f.size < 0 || f.size > stamp.MaxSize, "--size %d is not up to %d", f.size, stamp.MaxSize)
	bad(!(f.maxLoss >= 0 && f.maxLoss <= 1), "--max-loss %g is not 0 to 1", f.maxLoss)
	bad(f.maxRTT < 0, "--max-rtt %s is below 0", f.maxRTT)
	bad(f.output != "text" && f.output != "json" && f.output != "influx", "--output %q: one of text, json, influx", f.output)
	bad(f.four && f.six, "-4 and -6 exclude each other")
	o = collector.Options{
		Timing: probe.Timing{Interval: f.interval, Timeout: f.timeout, Late: f.timeout + 1500*time.Millisecond},
		Self:   true, Count: f.count, AllFlow: true,
		Plan: collector.Plan{Count: f.ports, Size: f.size, Ports: func(n int) []uint16 { return make([]uint16, n) }},
	}
	switch {
	case f.four:
		o.Family = collector.Family4
	case f.six:
		o.Family = collector.Family6
	}
	if f.source != "" {
		a, err := netip.ParseAddr(f.source)
		bad(err != nil, "--source %q is not an IP address", f.source)
		o.Sources = []netip.Addr{a.Unmap()}
	}
	if f.device != "" {
		_, err := net.InterfaceByName(f.device)
		bad(err != nil, "--device %q: there is no such interface", f.device)
		o.Device = f.device
	}
	classes, err := parseClasses(f.dscp)
	errs = append(errs, err)
	o.Plan.Classes = classes
	targets, err := f.targets(hosts)
	o.Plan.Targets = targets
	return o, errors.Join(append(errs, err)...)
}

func parseClasses(list []string) (out []probe.Class, err error) {
	seen := map[uint8]bool{}
	for _, s := range list {
		dscp, ok := config.DSCP(s)
		if !ok {
			return nil, fmt.Errorf("--dscp %q: a name (be, ef, cs0-cs7, af11-af43, va, le) or 0 to 63", s)
		}
		if !seen[dscp] {
			out = append(out, probe.Class{Name: strings.ToLower(s), DSCP: dscp})
		}
		seen[dscp] = true
	}
	return out, nil
}

func (f *pingFlags) targets(hosts []string) (out []probe.Target, err error) {
	var key []byte
	if f.keyFile != "" {
		if key, err = config.ReadKey(f.keyFile); err != nil {
			return nil, err
		}
	}
	seen := map[string]bool{}
	for _, h := range hosts {
		host, port, err := splitTarget(h)
		if err != nil {
			return nil, err
		}
		if seen[h] {
			return nil, fmt.Errorf("target %q is named twice", h)
		}
		seen[h] = true
		out = append(out, probe.Target{Name: h, Address: host, Port: port, TLV: !f.noTLV, SSID: !f.noID, Key: key})
	}
	return out, nil
}

// splitTarget reads HOST, HOST:PORT, an IPv6 address, or [IPv6]:PORT.
func splitTarget(s string) (host string, port uint16, err error) {
	if a, err := netip.ParseAddrPort(s); err == nil && a.Port() != 0 {
		return a.Addr().String(), a.Port(), nil
	}
	bare := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		bare = s[1 : len(s)-1]
	}
	if a, err := netip.ParseAddr(bare); err == nil {
		return a.String(), stamp.Port, nil
	}
	if !strings.Contains(s, ":") {
		if s == "" {
			return "", 0, errors.New("target is empty")
		}
		return s, stamp.Port, nil
	}
	host, text, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("target %q: want HOST, HOST:PORT or [IPV6]:PORT", s)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("target %q: port %q is not 1 to 65535", s, text)
	}
	return host, uint16(n), nil
}

func (f *pingFlags) print(w io.Writer, win *probe.Window) error {
	if win == nil {
		return nil
	}
	switch f.output {
	case "json":
		return printJSON(w, win)
	case "influx":
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("name of this host: %w", err)
		}
		lines, _, err := sink.NewEncoder(probe.Host{Name: name}, sink.EncoderOptions{}).Window(nil, win)
		if err != nil {
			return err
		}
		_, err = w.Write(lines)
		return err
	}
	printSummary(w, win)
	return nil
}
