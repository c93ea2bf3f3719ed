package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/loader"
	"github.com/llama-agent/llama-agent/pkg/reflector"
)

func newReflect() *cobra.Command {
	var listen, allow []string
	var legacy bool
	var kernel kernelFlags
	cmd := &cobra.Command{
		Use:   "reflect [--listen ADDR:PORT]...",
		Short: "Reflect STAMP probes, and nothing else",
		Long: `reflect answers STAMP probes (RFC 8762, RFC 8972) as a stateful Session-Reflector.

It answers private, unique local, link-local, loopback and directly connected
sources; --allow says otherwise. It never answers what looks like a reply, what comes
from a port below 1024, or more than 1,000 probes a second from one source.

It answers in the kernel where this host can (XDP, or TC at ingress), on the
interfaces of the default routes or those named, and over sockets what is left.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Parse("--listen", nil)
			if err != nil {
				return err
			}
			if cfg.Reflector.Listen, err = parseListen(listen); err != nil {
				return err
			}
			cfg.Reflector.Legacy = legacy
			if err := parseAllow(cfg, allow); err != nil {
				return err
			}
			if err := kernel.apply(cfg); err != nil {
				return err
			}
			return reflectUntil(cmd.Context(), cfg, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&listen, "listen", []string{":862"}, "`address:port` to answer on; :port is all addresses of both families")
	f.StringArrayVar(&allow, "allow", nil, "`prefix` of sources to answer, or any; replaces the default")
	f.BoolVar(&legacy, "legacy", false, "answer the probes of Dropbox's LLAMA too, on port 8100 of the same addresses")
	kernel.add(f)
	return cmd
}

// reflectUntil answers until ctx ends: in the kernel what it can, over sockets the rest.
func reflectUntil(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	o := reflectorOptions(cfg)
	r, err := reflector.New(o, log)
	if err != nil {
		return mendListen(err)
	}
	k, err := startKernel(ctx, cfg, o.Policy, kernelProbing{}, log)
	if ctx.Err() != nil {
		log.Info("stopped before the start had ended")
		return errors.Join(k.stop(), r.Close())
	}
	if err != nil {
		return errors.Join(err, r.Close())
	}
	log.Info("reflecting", "listen", r.Addrs())
	err = r.Run(ctx)
	inKernel := k.counters()
	err = errors.Join(err, k.stop())
	s := r.Stats()
	log.Info("reflected", attrs(s.Map())...)
	if inKernel != nil {
		log.Info("reflected in the kernel", attrs(inKernel)...)
	}
	return err
}

// kernelFlags are those of the kernel datapath.
type kernelFlags struct {
	mode, pin  string
	interfaces []string
	resetLink  bool
}

func (k *kernelFlags) add(f *pflag.FlagSet) {
	f.StringVar(&k.mode, "mode", "auto", "datapath: auto, native (XDP), tc, generic (XDP) or socket; one named is had or is an error")
	f.StringArrayVar(&k.interfaces, "interface", nil, "`name` of an interface to reflect on in the kernel (default: those of the default routes)")
	f.BoolVar(&k.resetLink, "reset-link", false, "native XDP may be attached where that takes the link down for a moment")
	f.StringVar(&k.pin, "pin", "", "`folder` in a BPF file system for maps and links (default /sys/fs/bpf/llama)")
}

func (k *kernelFlags) apply(cfg *config.Config) error {
	if _, err := loader.ParseMode(k.mode); err != nil {
		return fmt.Errorf("--mode: %w", err)
	}
	if k.mode == "socket" && len(k.interfaces) > 0 {
		return errors.New("--interface: sockets serve all interfaces; use --listen, or another --mode")
	}
	if k.pin != "" && !filepath.IsAbs(k.pin) {
		return fmt.Errorf("--pin %q: not an absolute path", k.pin)
	}
	d := &cfg.Datapath
	d.Mode, d.Interfaces, d.ResetLink = k.mode, k.interfaces, k.resetLink
	if k.pin != "" {
		d.Pin = k.pin
	}
	return nil
}

func parseListen(list []string) (out []netip.AddrPort, err error) {
	for _, s := range list {
		host, portText, err := net.SplitHostPort(s)
		if err != nil {
			return nil, fmt.Errorf("--listen %q: want address:port, as in 10.0.0.1:862, [::1]:862 or :862", s)
		}
		port, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("--listen %q: port %q is not 1 to 65535", s, portText)
		}
		var addr netip.Addr // the zero address is all of them
		if host != "" {
			if addr, err = netip.ParseAddr(host); err != nil {
				return nil, fmt.Errorf("--listen %q: %q is not an IP address", s, host)
			}
		}
		out = append(out, netip.AddrPortFrom(addr, uint16(port)))
	}
	return out, nil
}

func parseAllow(cfg *config.Config, list []string) error {
	if len(list) == 0 {
		return nil
	}
	allow := config.Allow{}
	for _, s := range list {
		if s == "any" {
			allow.Any = true
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return fmt.Errorf("--allow %q: want a prefix, an address, or any", s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		allow.Prefixes = append(allow.Prefixes, p.Masked())
	}
	cfg.Reflector.Allow = allow
	return nil
}

// mendListen adds what a person can do about an address that cannot be had.
func mendListen(err error) error {
	switch {
	case errors.Is(err, reflector.ErrPermission):
		return fmt.Errorf("%w: ports below 1024 need CAP_NET_BIND_SERVICE (run as root, or setcap cap_net_bind_service+ep), or choose another port", err)
	case errors.Is(err, reflector.ErrInUse):
		return fmt.Errorf("%w: see who has it with: ss -lunp", err)
	case errors.Is(err, reflector.ErrNoAddress):
		return fmt.Errorf("%w: see what there is with: ip address", err)
	}
	return err
}

func netipPort(a netip.AddrPort, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), port)
}

func attrs(m map[string]uint64) (out []any) {
	for _, f := range named("", m) {
		if f.Int > 0 {
			out = append(out, f.Name, f.Int)
		}
	}
	return out
}
