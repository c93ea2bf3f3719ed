//go:build linux

package loader

import (
	"context"
	"fmt"
	"time"
)

// How long a link may take to come back after its driver reset it, and how often it is looked at.
const (
	carrierWait = 10 * time.Second
	carrierPoll = 50 * time.Millisecond
)

// awaitCarrier returns when the interface has its carrier again: the next one must not be touched before.
func awaitCarrier(ctx context.Context, ifc Interface, limit time.Duration) error {
	late := time.After(limit)
	tick := time.NewTicker(carrierPoll)
	defer tick.Stop()
	for {
		now, err := interfaceByIndex(ifc.Index)
		if err != nil {
			return err
		}
		if now.Carrier {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for carrier of %s: %w", ifc.Name, ctx.Err())
		case <-late:
			return fmt.Errorf("carrier of %s is not back after %s", ifc.Name, limit)
		case <-tick.C:
		}
	}
}
