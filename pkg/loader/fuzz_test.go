//go:build linux

package loader

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// least is the shortest frame that the kernel's test run takes for the program.
func least(kind int, frame []byte) int {
	if kinds[kind].kind != progTC || len(frame) < 14 {
		return 14
	}
	switch be.Uint16(frame[12:]) {
	case 0x0800:
		return 34
	case 0x86dd:
		return 54
	}
	return 14
}

// Frames of every length from 14 to 128 octets: cut off, with fewer octets of payload,
// and with Ethernet's padding.
func TestEveryLength(t *testing.T) {
	r := newRig(t)
	eachFamily(t, r, func(t *testing.T, r *rig, kind int, v6 bool) {
		replies := 0
		judge := func(req *packet, f []byte) {
			if len(f) >= least(kind, f) && len(f) <= 128 && r.judge(kind, f) {
				replies++
			}
			req.sport++ // a session of its own
		}
		for _, vlans := range [][]uint16{nil, {0x8100}, {0x88a8, 0x8100}} {
			req := request(v6)
			req.vlans, req.sport = vlans, 10000
			full := append(fullProbe(7), make([]byte, 60)...)
			for n := range len(full) + 1 {
				req.payload = full[:n]
				judge(req, req.bytes())
				req.trailer = make([]byte, 18)
				judge(req, req.bytes())
				req.trailer = nil
			}
			req.payload = fullProbe(7)
			for n := 14; n <= 128; n++ {
				f := req.bytes()
				judge(req, f[:min(n, len(f))])
			}
		}
		require.Greater(t, replies, 20)
	})
}

// seeds are frames worth bending: all that the other tests have.
func seeds() (frames [][]byte) {
	for _, v6 := range []bool{false, true} {
		req := request(v6)
		frames = append(frames, req.bytes())
		req.vlans = []uint16{0x88a8, 0x8100}
		frames = append(frames, req.bytes())
		req.vlans, req.partialChecksum = nil, true
		frames = append(frames, req.bytes())
	}
	for _, c := range bents {
		req := request(c.v6)
		c.bend(req)
		frames = append(frames, req.bytes())
	}
	return frames
}

// fewer is n, or a part of it with -short: under emulation each round takes its time.
func fewer(n int) int {
	if testing.Short() {
		return n / 20
	}
	return n
}

// Frames bent at random, the same in every run.
func TestRandomFrames(t *testing.T) {
	r := newRig(t)
	eachKind(t, r, func(t *testing.T, r *rig, kind int) {
		rnd := rand.New(rand.NewPCG(1, 2))
		all, replies := seeds(), 0
		rounds := fewer(20_000)
		for n := range rounds {
			if n%50 == 0 {
				r.reset() // sessions that went up would hide the rest
			}
			f := slices.Clone(all[rnd.IntN(len(all))])
			if n%2 == 0 {
				f = slices.Clone(all[rnd.IntN(6)]) // nothing was wrong with it
			}
			for range rnd.IntN(3) {
				switch i := rnd.IntN(len(f)); rnd.IntN(5) {
				case 0:
					f[i] ^= 1 << rnd.IntN(8)
				case 1:
					f[i] = byte(rnd.Uint32())
				case 2:
					f[i] = [...]byte{0, 1, 4, 5, 255}[rnd.IntN(5)]
				case 3:
					f = f[:i]
				case 4:
					f = append(f, make([]byte, rnd.IntN(40))...)
				}
				if len(f) < 60 {
					f = append(f, make([]byte, 60-len(f))...)
				}
			}
			if n%4 != 0 {
				mendChecksum(f) // or nearly all would end there
			}
			if len(f) >= least(kind, f) && r.judge(kind, f) {
				replies++
			}
		}
		t.Logf("%d of %d were answered", replies, rounds)
		require.Greater(t, replies, rounds/50)
	})
}

// mendChecksum makes the UDP checksum right, if there is one to be found.
func mendChecksum(f []byte) {
	p, ok := decode(f)
	if !ok || p.noChecksum {
		return
	}
	check := f[udpAt(p, f)+6:]
	be.PutUint16(check, 0)
	be.PutUint16(check, ^udpSum(p, f))
	if be.Uint16(check) == 0 {
		be.PutUint16(check, 0xffff)
	}
}

func FuzzFrame(f *testing.F) {
	r := newRig(f)
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) > 1500 {
			return
		}
		sub := *r
		sub.t = t
		sub.reset()
		for kind := range kinds {
			if len(frame) >= least(kind, frame) {
				sub.judge(kind, frame)
				mended := slices.Clone(frame)
				mendChecksum(mended)
				sub.judge(kind, mended)
			}
		}
	})
}
