// Command goecho is the plainest UDP echo in Go: one datagram, one reply.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, run(os.Args[1:]))
	os.Exit(1)
}

// run ends only with an error.
func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: goecho PORT")
	}
	addr, err := net.ResolveUDPAddr("udp4", ":"+args[0])
	if err != nil {
		return err
	}
	c, err := net.ListenUDP("udp4", addr)
	if err != nil {
		return err
	}
	_ = c.SetReadBuffer(4 << 20)
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		// A reply that cannot be sent is the sender's loss; the echo goes on.
		_, _ = c.WriteToUDPAddrPort(buf[:n], from)
	}
}
