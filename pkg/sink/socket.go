package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"time"
)

// SocketConfig says where line protocol goes without any protocol around it, such as Telegraf's socket_listener.
type SocketConfig struct {
	Address  string        // tcp://HOST:PORT, udp://HOST:PORT, unix:///PATH or unixgram:///PATH
	Timeout  time.Duration // of connecting, and of a write; 0: 10 s
	Datagram int           // octets of a datagram at most; 0: 8192
}

// Socket is a [Writer] to a socket. There is no answer on it: what the listener's host
// has taken counts as delivered.
type Socket struct {
	network, address string
	name             string
	timeout          time.Duration
	datagram         int

	conn   net.Conn // nil while there is none
	stream *Stream  // over conn; nil for datagrams
}

// NewSocket checks cfg and returns a writer; it opens no connection yet.
func NewSocket(cfg SocketConfig) (*Socket, error) {
	u, err := url.Parse(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("socket address: %w", err)
	}
	s := &Socket{
		network: u.Scheme, address: u.Host, name: "socket " + cfg.Address,
		timeout: orDefault(cfg.Timeout, 10*time.Second), datagram: orDefault(cfg.Datagram, 8192),
	}
	switch u.Scheme {
	case "tcp", "udp":
	case "unix", "unixgram":
		s.address = u.Path
	default:
		return nil, fmt.Errorf("socket address: %q is none of tcp, udp, unix, unixgram", u.Scheme)
	}
	if s.address == "" {
		return nil, errors.New("socket address: it names no listener")
	}
	return s, nil
}

// Name names the listener.
func (s *Socket) Name() string { return s.name }

// Write writes b. Where a stream takes no more the next Write goes on in the middle of
// the line: Telegraf takes a line that a closed connection has cut for a whole one. A
// connection that breaks is opened anew by the next Write, and gets the whole of b.
func (s *Socket) Write(ctx context.Context, b Batch) error {
	if s.conn == nil {
		if err := s.connect(ctx); err != nil {
			return err
		}
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
		return s.broken(err)
	}
	conn := s.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	if s.stream == nil {
		return s.writeDatagrams(b)
	}
	err := s.stream.Write(ctx, b)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return s.broken(err)
}

func (s *Socket) connect(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: s.timeout}).DialContext(ctx, s.network, s.address)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	s.conn = conn
	if s.network == "tcp" || s.network == "unix" {
		s.stream = NewStream(s.name, conn)
		// A listener says nothing. When it ends this ends, and with it the connection:
		// a write would still succeed, and be lost.
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}()
	}
	return nil
}

func (s *Socket) broken(err error) error {
	_ = s.conn.Close() // the error that broke it says more
	s.conn, s.stream = nil, nil
	return err
}

// Close ends the connection.
func (s *Socket) Close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn, s.stream = nil, nil
	if errors.Is(err, net.ErrClosed) { // the listener was first
		return nil
	}
	return err
}
