package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/llama-agent/llama-agent/internal/config"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Work on configuration files",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return fmt.Errorf("config: which command? there is: import") },
	}
	cmd.AddCommand(newConfigImport())
	return cmd
}

func newConfigImport() *cobra.Command {
	var port uint16
	cmd := &cobra.Command{
		Use:   "import OLD.yaml",
		Short: "Turn a configuration of Dropbox's LLAMA into one of this agent's, on standard output",
		Long: `import reads a configuration of Dropbox's LLAMA, that of the Go collector (summarization,
api, ports, port_groups, rate_limits, tests, targets) or the older map of tags by host,
and prints what comes nearest to it here. What has no counterpart stands in comments.

The old file is not changed. Look the result over, and see what check says of it:

  llama-agent config import collector.yaml > llama-agent.yaml
  llama-agent check --config llama-agent.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if port == 0 {
				return fmt.Errorf("--port 0: not a port")
			}
			out, err := config.ImportFile(args[0], port)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(out)
			return err
		},
	}
	cmd.Flags().Uint16Var(&port, "port", config.DefaultPort, "UDP `port` that this agent's reflectors listen on, here and at the targets")
	return cmd
}
