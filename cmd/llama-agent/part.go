package main

import "context"

// A part is something that runs until it is stopped.
type part struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid once done is closed
}

// start runs f in a goroutine of its own. It does not end with the program's
// context: what the parts owe each other decides the order of their stops.
func start(f func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = f(ctx)
	}()
	return p
}

// stop ends the part and waits for it. Stopping a nil part does nothing.
func (p *part) stop() error {
	if p == nil {
		return nil
	}
	p.cancel()
	<-p.done
	return p.err
}
