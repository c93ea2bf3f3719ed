package sink

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

const (
	// burst datagrams are sent without a pause of burstPause: a listener's buffer is small.
	burst      = 32
	burstPause = 5 * time.Millisecond

	// icmpWait is how long the listener's host has to say that nobody listens.
	icmpWait = 50 * time.Millisecond
)

// writeDatagrams sends as many whole lines a datagram as fit. What is sent twice after
// an error is the same points.
func (s *Socket) writeDatagrams(b Batch) error {
	sent, line := 0, 0
	var long []BadLine
	for _, part := range split(b.Data, s.datagram, b.Lines) {
		line += part.Lines
		if len(part.Data) > s.datagram {
			long = append(long, BadLine{line - 1, fmt.Sprintf("longer than a datagram of %d octets: raise datagram, or use tcp or unix", s.datagram)})
			continue
		}
		if sent++; sent%burst == 0 {
			time.Sleep(burstPause)
		}
		if _, err := s.conn.Write(part.Data); err != nil {
			return s.broken(fmt.Errorf("write: %w", err))
		}
	}
	if err := s.nobody(); err != nil {
		return s.broken(fmt.Errorf("write: %w", err))
	}
	if len(long) > 0 {
		return &Failure{Class: ErrorLocal, Do: Refuse, Sure: true, Took: true, Bad: long, Err: errors.New("lines longer than a datagram")}
	}
	return nil
}

// nobody is the error by which the listener's host says that nobody listens there.
func (s *Socket) nobody() error {
	if s.network != "udp" {
		return nil // unix tells with the write
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(icmpWait)); err != nil {
		return err
	}
	var word [1]byte
	_, err := s.conn.Read(word[:])
	if errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return nil
}
