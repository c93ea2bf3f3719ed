package collector

import (
	"math"
	"time"
)

// Rotation replaces source ports in the course of time, so that flows meet paths
// that the hash of the ones before did not choose. The host's ports are a ring;
// those in use are a window on it that moves on by a group at a time. Where the
// window stands depends on the time alone, and not on when the agent was started.

// group returns how many of a target's ports are replaced at once, and how often.
// A fraction of a port cannot be: rather one port, less often than once an hour.
func (p *Plan) group() (ports int, every time.Duration) {
	each := p.Rotate * float64(p.Count) // an hour
	ports = max(1, int(math.Round(each)))
	return ports, time.Duration(float64(ports) / each * float64(time.Hour))
}

// step returns how many groups were replaced since 1970.
func (p *Plan) step(now time.Time) int64 {
	if p.Rotate <= 0 {
		return 0
	}
	_, every := p.group()
	return int64(now.Sub(time.Unix(0, 0)) / every)
}

// rotate returns the ports in use after so many steps, of count from position from
// on, in groups that come and go as a whole. Each group is a path of its own in the
// loop, so that those that stay are not touched when others go.
func rotate(ring []uint16, from, count, group int, step int64) (groups [][]uint16) {
	rest := count % group // each group of the ring is cut in two, where the window's end falls
	at := int(step % int64(len(ring)) * int64(group) % int64(len(ring)))
	for n, cut := 0, rest; n < count; cut = group - cut {
		size := cut
		if rest == 0 {
			size = group
		}
		ports := make([]uint16, size)
		for i := range ports {
			ports[i] = ring[(from+at+n+i)%len(ring)]
		}
		groups = append(groups, ports)
		n += size
	}
	return groups
}
