// Command llama-agent measures loss and latency between the hosts of a network
// fabric: it sends STAMP probes (RFC 8762, RFC 8972) over every path and class,
// and reflects those of other hosts.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitOK     = 0
	exitBeyond = 1 // ping: beyond its limits
	exitSetup  = 2 // wrong usage, wrong configuration, or what is needed is not to be had
)

// errBeyond says that ping measured more than its limits allow; it has said so
// already.
var errBeyond = errors.New("beyond the limits")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program without the process: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errBeyond):
		return exitBeyond
	}
	fmt.Fprintf(stderr, "llama-agent: %v\n", err)
	return exitSetup
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "llama-agent",
		Short: "Loss and latency between the hosts of a network fabric, over every path and class",
		Long: `llama-agent sends STAMP probes (RFC 8762, RFC 8972) from many source ports, so that
ECMP spreads them over every path, in every QoS class, and reflects the probes of
other hosts. It writes loss by direction and latency as Influx line protocol.

Exit status: 0 all is well; 1 ping measured more than its limits allow; 2 wrong
usage, wrong configuration, or something that is needed is not to be had.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newRun(), newReflect(), newPing(), newCheck(), newConfig(), newScrape(), newMaps(), newDetach(), newVersion())
	return root
}
