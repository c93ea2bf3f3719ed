package collector

import "math/bits"

// A flowTable finds flows by their sessions. It holds nothing but pointers, 16 octets a
// flow at the most, where a map would hold each key once more. The zero value is empty.
type flowTable struct {
	at []*flow // open addressing; a power of two, at most three quarters in use
	n  int
}

// flowKey is the session of a flow: the far end, its SSID, and the socket here.
type flowKey struct {
	addr [16]byte // of the target
	port uint16
	ssid uint16
	sock uint32
}

func (f *flow) mapKey() flowKey {
	k := f.path.session
	k.sock = f.sock.id
	return k
}

// is is mapKey compared without making it.
func (f *flow) is(k *flowKey) bool {
	s := &f.path.session
	return f.sock.id == k.sock && s.ssid == k.ssid && s.port == k.port && s.addr == k.addr
}

// home is where a key is looked for first. Only keys of our own are in the table, so that
// nobody else can have them meet.
func (t *flowTable) home(k *flowKey) int {
	var low, high uint64
	for i := range 8 {
		low, high = low<<8|uint64(k.addr[i]), high<<8|uint64(k.addr[8+i])
	}
	const odd1, odd2, odd3 = 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9
	over, under := bits.Mul64(high^uint64(k.sock)<<32^odd1, odd2)
	a, b := bits.Mul64(over^under^low^uint64(k.port)<<16^uint64(k.ssid), odd3)
	return int((a ^ b) & uint64(len(t.at)-1))
}

// find returns the flow that has the session; nil if none has.
func (t *flowTable) find(k flowKey) *flow {
	if t.n == 0 {
		return nil
	}
	for i := t.home(&k); ; i = (i + 1) & (len(t.at) - 1) {
		if f := t.at[i]; f == nil || f.is(&k) {
			return f
		}
	}
}

// put adds f in the place of what had its session.
func (t *flowTable) put(f *flow) {
	if 4*(t.n+1) > 3*len(t.at) {
		old := t.at
		t.at, t.n = make([]*flow, max(16, 2*len(old))), 0
		for _, g := range old {
			if g != nil {
				t.put(g)
			}
		}
	}
	k := f.mapKey()
	for i := t.home(&k); ; i = (i + 1) & (len(t.at) - 1) {
		switch g := t.at[i]; {
		case g == nil:
			t.n++
		case !g.is(&k):
			continue
		}
		t.at[i] = f
		return
	}
}

// remove takes out the flow that has the session. Those behind it that would no longer be
// found move up.
func (t *flowTable) remove(k flowKey) {
	if t.n == 0 {
		return
	}
	mask := len(t.at) - 1
	i := t.home(&k)
	for ; t.at[i] == nil || !t.at[i].is(&k); i = (i + 1) & mask {
		if t.at[i] == nil {
			return
		}
	}
	t.at[i] = nil
	t.n--
	for j := (i + 1) & mask; t.at[j] != nil; j = (j + 1) & mask {
		key := t.at[j].mapKey()
		if (j-t.home(&key))&mask >= (j-i)&mask { // its home is not behind the gap
			t.at[i], t.at[j] = t.at[j], nil
			i = j
		}
	}
}
