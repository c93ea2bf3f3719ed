package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/pkg/reflector"
)

// A finding is one thing that this host can do, or not, and the mend.
type finding struct {
	Name      string `json:"name"`
	Interface string `json:"interface,omitempty"`
	OK        bool   `json:"ok"`
	Detail    string `json:"detail"`
	Mend      string `json:"mend,omitempty"`
	Data      any    `json:"data,omitempty"` // what Detail says in words, docs/operating.md

	ends string // what check's last line says of it; "": an agent runs all the same
}

func newCheck() *cobra.Command {
	var file, output string
	var child bool
	cmd := &cobra.Command{
		Use:   "check [--config FILE]",
		Short: "Say what this host can do, and whether the configuration is right",
		Long: `check looks at this host and at the configuration, changes nothing, and says what
bends the figures or keeps the agent from its work, each with the mend: the kernel,
this process's rights (run it as the agent is run), and the interfaces of
datapath.interfaces, or else of the default routes and of the routes to targets,
with what they are built on.

Exit status 0: the agent would run; 2: it would not, or the configuration or a list
of targets is wrong (which an agent runs without). A port that is in use counts as the
agent's own, so it is no reason for 2. Not tried: to attach programs where datapath.mode
names a step (some drivers refuse then), and whether databases answer.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if child {
				return printTryBPF(cmd.OutOrStdout())
			}
			if output != "text" && output != "json" {
				return fmt.Errorf("--output %q: one of text, json", output)
			}
			return check(cmd.Context(), file, output, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `file` (YAML)")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().BoolVar(&child, tryBPFFlag, false, "")
	_ = cmd.Flags().MarkHidden(tryBPFFlag) // it exists
	return cmd
}

func check(ctx context.Context, file, output string, w io.Writer) error {
	asked := askedLists{}
	cfg, err := loadConfig(file, nil, asked.known, slog.New(slog.DiscardHandler))
	if err == nil && asked.ask(ctx, &cfg.TargetsFrom) {
		cfg, err = loadConfig(file, nil, asked.known, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		return err
	}
	host := newHostCheck(cfg)
	all := append(host.kernel(), checkStamps())
	all = append(all, checkListen(cfg, file == "")...)
	all = append(all, checkAPI(cfg)...)
	all = append(all, checkBuffers(), checkClock(cfg), checkHash())
	all = append(all, host.bends()...)
	all = append(all, checkSinks(cfg)...)
	all = append(all, checkSpool(cfg)...)
	all = append(all, host.interfaces(ctx)...)
	all = append(all, host.mode()...)
	for _, p := range cfg.Warnings {
		all = append(all, finding{Name: "configuration", Detail: p.String()})
	}
	lists, good := checkLists(cfg.TargetsFrom.Lists, asked)
	all = append(all, lists...)
	if file != "" {
		all = append(all, finding{Name: "configuration", OK: true, Detail: fmt.Sprintf("%s: %d targets, %d classes, %d ports",
			file, len(cfg.Targets), len(cfg.Probing.Classes), cfg.Probing.Ports)})
	}
	if output == "json" {
		err = json.NewEncoder(w).Encode(all)
	} else {
		for _, f := range all {
			err = errors.Join(err, f.print(w))
		}
	}
	if err == nil {
		err = ending(all)
	}
	if err == nil && !good {
		err = errors.New("lists of targets are not in force as they are")
	}
	return err
}

// ending is what keeps the agent from its start, each reason once.
func ending(all []finding) error {
	var why []string
	for _, f := range all {
		if f.ends != "" && !slices.Contains(why, f.ends) {
			why = append(why, f.ends)
		}
	}
	if len(why) == 0 {
		return nil
	}
	return fmt.Errorf("the agent would not run: %s", strings.Join(why, "; "))
}

func (f *finding) print(w io.Writer) error {
	mark, detail := "ok", f.Detail
	if !f.OK {
		mark = "--"
	}
	if f.Interface != "" {
		detail = f.Interface + ": " + detail
	}
	_, err := fmt.Fprintf(w, "%s  %-14s %s\n", mark, f.Name, detail)
	if f.Mend != "" {
		_, err = fmt.Fprintf(w, "    %-14s mend: %s\n", "", f.Mend)
	}
	return err
}

// checkStamps sends one datagram over loopback and looks for both kernel stamps.
func checkStamps() finding {
	f := finding{Name: "stamps", Mend: "without them RTTs carry clock=user and this host's own delays"}
	loop := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	fd, err := sock.Open(sock.Options{Bind: loop, TxStamps: true})
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	defer unix.Close(fd)
	sock.AwaitStamps()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	if err := unix.Sendto(fd, []byte("stamp"), 0, sa); err != nil {
		f.Detail = err.Error()
		return f
	}
	f.OK = true
	var has []string
	for flag, name := range map[int]string{0: "receive", unix.MSG_ERRQUEUE: "transmit"} {
		b, m := sock.NewBatch(1, 256), sock.Meta{}
		if n, _ := b.Recv(fd, unix.MSG_DONTWAIT|flag); n == 1 {
			b.Meta(0, &m)
		}
		if m.Stamp == 0 {
			f.OK = false
			continue
		}
		has = append(has, name)
	}
	f.Detail = "kernel software stamps on loopback: " + strings.Join(has, ", ")
	if f.OK {
		f.Detail, f.Mend = "kernel software stamps work (SO_TIMESTAMPING, receive and transmit)", ""
	}
	return f
}

func checkListen(cfg *config.Config, mayFallBack bool) (out []finding) {
	for _, l := range cfg.Reflector.Listen {
		o := reflectorOptions(cfg)
		o.Listen, o.Workers = []netip.AddrPort{l}, 1
		f := finding{Name: "listen", OK: true, Detail: "udp " + listenText(l)}
		r, err := reflector.New(o, slog.New(slog.DiscardHandler))
		if err != nil {
			f.OK, f.Detail = false, mendListen(err).Error()
			switch {
			case errors.Is(err, reflector.ErrInUse): // perhaps by the agent itself
			case errors.Is(err, reflector.ErrPermission) && mayFallBack:
				f.Detail += "; without a configuration run takes port 8620 then"
			default:
				f.ends = "the reflector cannot listen as configured"
			}
		} else if err = r.Close(); err != nil {
			f.Detail += ": " + err.Error()
		}
		out = append(out, f)
	}
	return out
}

func listenText(l netip.AddrPort) string {
	if !l.Addr().IsValid() {
		return fmt.Sprintf("port %d, all addresses of both families", l.Port())
	}
	return l.String()
}

func checkBuffers() finding {
	const want = 4 << 20
	f := finding{Name: "buffers", OK: true, Detail: "socket buffers beyond net.core.rmem_max are allowed (CAP_NET_ADMIN)"}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return finding{Name: "buffers", Detail: err.Error()}
	}
	defer unix.Close(fd)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, want) == nil {
		return f
	}
	f.Detail = "net.core.rmem_max " + sysctl("net/core/rmem_max")
	if n, err := strconv.Atoi(sysctl("net/core/rmem_max")); err != nil || n < want {
		f.OK, f.Mend = false, fmt.Sprintf("for high rates: sysctl net.core.rmem_max=%d, or CAP_NET_ADMIN", want)
	}
	return f
}

func checkClock(cfg *config.Config) finding {
	q := sock.ReadClockQuality().Stated(cfg.ClockError)
	if !q.Synchronized {
		return finding{Name: "clock", Detail: "not synchronised: RTT and loss do not need it, one-way delay would",
			Mend: "run chrony or ptp4l if you want one-way delays; host.clock_error says it where the kernel does not know"}
	}
	return finding{Name: "clock", OK: true, Detail: fmt.Sprintf("synchronised, maximum error %s µs", micros(float64(q.MaxError)))}
}

// checkHash: with several uplinks, source ports spread over them only if the
// kernel hashes them.
func checkHash() finding {
	v := sysctl("net/ipv4/fib_multipath_hash_policy")
	f := finding{Name: "multipath hash", OK: v != "0", Detail: "net.ipv4.fib_multipath_hash_policy = " + v}
	if v == "0" {
		f.Mend = "on a host with several uplinks: sysctl net.ipv4.fib_multipath_hash_policy=1, or source ports do not spread over them"
	}
	return f
}

func sysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
