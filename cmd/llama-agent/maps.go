package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/loader"
)

func newMaps() *cobra.Command {
	var p pinFlags
	cmd := &cobra.Command{
		Use:   "maps",
		Short: "Print the maps of the kernel datapath in words",
		Long: `maps prints what is pinned: until when the programs work, the policy, interfaces,
sessions and counters. It changes nothing. bpftool shows the same, typed:

  bpftool map dump pinned /sys/fs/bpf/llama/llama_peer`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pin, err := p.folder()
			if err != nil {
				return err
			}
			return loader.Maps(pin, cmd.OutOrStdout())
		},
	}
	p.add(cmd)
	return cmd
}

func newDetach() *cobra.Command {
	var p pinFlags
	cmd := &cobra.Command{
		Use:   "detach",
		Short: "Take all programs, links, filters and maps of the agent off this host",
		Long: `detach removes everything of the kernel datapath from the interfaces of this network
namespace and from the pin folder, and says what it removed. It is for an agent that
has ended. Native XDP that is taken off a physical NIC may take its link down for a
moment: that is why a stop leaves it there, passing everything.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pin, err := p.folder()
			if err != nil {
				return err
			}
			return detach(pin, cmd.OutOrStdout())
		},
	}
	p.add(cmd)
	return cmd
}

func detach(pin string, w io.Writer) error {
	removed, err := loader.Detach(pin)
	for _, r := range removed {
		fmt.Fprintln(w, "removed", r)
	}
	if len(removed) == 0 && err == nil {
		fmt.Fprintln(w, "nothing of ours is on this host")
	}
	return err
}

// pinFlags say where the datapath is pinned.
type pinFlags struct{ pin, file string }

func (p *pinFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.pin, "pin", "", "`folder` of the pins (default: as configured, /sys/fs/bpf/llama)")
	cmd.Flags().StringVar(&p.file, "config", "", "configuration `file` (YAML), for its datapath.pin")
}

func (p *pinFlags) folder() (string, error) {
	if p.pin != "" {
		return p.pin, nil
	}
	cfg := config.Default()
	if p.file != "" {
		var err error
		if cfg, err = loadConfig(p.file, nil, nil, slog.New(slog.DiscardHandler)); err != nil {
			return "", err
		}
	}
	return cfg.Datapath.Pin, nil
}
