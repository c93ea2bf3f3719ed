package sink

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Tags of llama_path that a point's identity rests on, and those that
// llama_size and llama_flow add.
const (
	tagSrc, tagDst, tagFamily, tagClass, tagClock       = "src", "dst", "family", "class", "clock"
	tagSize                                             = "size"
	tagSrcAddr, tagDstAddr, tagSrcPort, tagDstPort      = "src_addr", "dst_addr", "src_port", "dst_port"
	maxCached                                      int  = 1 << 16
	substitute                                     rune = '_'
)

type tag struct{ key, value string }

// tagSet collects the tags of one line. Prefixed keys and the text of addresses
// and ports are remembered, so that a line costs no allocation once its series is
// known. All of it is bounded: a full table is emptied and fills again.
type tagSet struct {
	tags  []tag
	keys  map[[2]string]string
	addrs map[netip.Addr]string
	ports map[uint16]string

	sanitised, dropped uint64
}

func newTagSet() tagSet {
	return tagSet{
		keys:  make(map[[2]string]string),
		addrs: make(map[netip.Addr]string),
		ports: make(map[uint16]string),
	}
}

// identity adds a tag without which the line would be another series; false if
// nothing usable is left of its value.
func (s *tagSet) identity(key, value string) bool {
	clean, ok := s.clean(value, maxValue)
	if ok {
		s.tags = append(s.tags, tag{key, clean})
	}
	return ok
}

// prefixed adds the configured tags m under prefix; what cannot be a tag, or has
// the name of a tag of our own, is dropped and counted.
func (s *tagSet) prefixed(prefix string, m map[string]string) {
	for k, v := range m {
		key, known := s.keys[[2]string{prefix, k}]
		if !known {
			key = s.key(prefix, k)
		}
		value, ok := s.clean(v, maxValue)
		if key == "" || !ok {
			s.dropped++
			continue
		}
		s.tags = append(s.tags, tag{key, value})
	}
}

// own adds tags that have their names already; what cannot be a tag is dropped and
// counted, and so are names that databases keep for themselves.
func (s *tagSet) own(m map[string]string) {
	for k, v := range m {
		key, ok := s.clean(k, maxKey)
		value, good := s.clean(v, maxValue)
		if !ok || !good || key == "time" || key == "_field" || key == "_measurement" {
			s.dropped++
			continue
		}
		s.tags = append(s.tags, tag{key, value})
	}
}

// key builds and remembers the key of a configured tag; "" if it has none.
func (s *tagSet) key(prefix, name string) string {
	if len(s.keys) >= maxCached {
		clear(s.keys)
	}
	key := ""
	if clean, ok := s.clean(name, maxKey); ok {
		key = prefix + clean
	}
	switch key {
	case tagSrcAddr, tagDstAddr, tagSrcPort, tagDstPort:
		key = "" // on llama_flow it would be there twice
	}
	s.keys[[2]string{prefix, name}] = key
	return key
}

// sort orders the tags by key, as the format wants them, and drops all but the
// first of equal keys (two names may become one when they are sanitised).
func (s *tagSet) sort() {
	slices.SortFunc(s.tags, func(a, b tag) int {
		if c := strings.Compare(a.key, b.key); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	n := len(s.tags)
	s.tags = slices.CompactFunc(s.tags, func(a, b tag) bool { return a.key == b.key })
	s.dropped += uint64(n - len(s.tags))
}

func (s *tagSet) addr(a netip.Addr) string {
	text, ok := s.addrs[a]
	if !ok {
		if len(s.addrs) >= maxCached {
			clear(s.addrs)
		}
		text = a.Unmap().String()
		s.addrs[a] = text
	}
	return text
}

func (s *tagSet) port(p uint16) string {
	text, ok := s.ports[p]
	if !ok {
		text = strconv.Itoa(int(p))
		s.ports[p] = text
	}
	return text
}

// clean returns text that line protocol can carry as a tag's key or value; ok is
// false if nothing is left. Configuration refuses such text, so that this is the
// second line of defence.
func (s *tagSet) clean(text string, most int) (clean string, ok bool) {
	if usable(text) && len(text) <= most {
		return text, true
	}
	clean = shorten(sanitise(text), most)
	if clean == "" {
		return "", false
	}
	s.sanitised++
	return clean, true
}

// Octets of a tag's key, less its prefix, and of its value. Servers have bounds of their
// own: VictoriaMetrics drops a series, without a word, with a name of more than 256 or a
// value of more than 4,096.
const maxKey, maxValue = 250, 1024

// shorten cuts what is too long. The hash of what it was keeps it apart from others.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	mark := "_" + hex.EncodeToString(sum[:8])
	return strings.ToValidUTF8(text[:most-len(mark)], "") + mark
}

// usable reports whether text survives the way through any reader of the format:
// no control characters, valid UTF-8, no backslash at the end or in front of a
// character that is itself escaped (readers differ there).
func usable(text string) bool {
	if text == "" || !utf8.ValidString(text) {
		return false
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c < ' ' || c == 0x7f || c == '\\' && breaks(text[i+1:]) {
			return false
		}
	}
	return true
}

func breaks(rest string) bool {
	return rest == "" || strings.IndexByte(`,= \`, rest[0]) >= 0
}

func sanitise(text string) string {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return substitute
		}
		return r
	}, text)
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && breaks(text[i+1:]) {
			if i+1 == len(text) {
				break
			}
			b.WriteRune(substitute)
			continue
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
