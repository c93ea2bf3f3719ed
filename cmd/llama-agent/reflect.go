package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/reflector"
)

func newReflect() *cobra.Command {
	var listen, allow, interfaces []string
	var mode string
	cmd := &cobra.Command{
		Use:   "reflect [--listen ADDR:PORT]...",
		Short: "Reflect STAMP probes, and nothing else",
		Long: `reflect answers STAMP probes (RFC 8762, RFC 8972) as a stateful Session-Reflector.

It answers private, unique local, link-local, loopback and directly connected
sources; --allow says otherwise. It never answers what looks like a reply, what comes
from a port below 1024, or more than 1,000 probes a second from one source.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkMode(mode, interfaces); err != nil {
				return err
			}
			cfg, err := config.Parse("--listen", nil)
			if err != nil {
				return err
			}
			if cfg.Reflector.Listen, err = parseListen(listen); err != nil {
				return err
			}
			if err := parseAllow(cfg, allow); err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			r, err := reflector.New(reflectorOptions(cfg), log)
			if err != nil {
				return mendListen(err)
			}
			log.Info("reflecting", "mode", "socket", "listen", r.Addrs())
			err = r.Run(cmd.Context())
			s := r.Stats()
			log.Info("reflected", attrs(s.Map())...)
			return err
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&listen, "listen", []string{":862"}, "`address:port` to answer on; :port is all addresses of both families")
	f.StringArrayVar(&allow, "allow", nil, "`prefix` of sources to answer, or any; replaces the default")
	f.StringArrayVar(&interfaces, "interface", nil, "`name` of an interface for the kernel datapath (not in this version)")
	f.StringVar(&mode, "mode", "auto", "datapath: auto or socket (native, tc and generic are not in this version)")
	return cmd
}

// checkMode: a mode that was asked for by name is never replaced in silence.
func checkMode(mode string, interfaces []string) error {
	switch mode {
	case "auto", "socket":
	case "native", "tc", "generic":
		return fmt.Errorf("--mode %s: this version has the socket datapath only; use --mode auto or socket", mode)
	default:
		return fmt.Errorf("--mode %q: one of auto, native, tc, generic, socket", mode)
	}
	if len(interfaces) > 0 {
		return errors.New("--interface: this version has the socket datapath only, which serves all interfaces; use --listen")
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
