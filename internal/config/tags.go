package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// maxText is the greatest length of a name or tag, in octets.
const maxText = 256

// checkText tells whether s can be a tag of the line protocol, which has no way
// to write an empty one, a line break, or a backslash at the end.
func checkText(s string) error {
	switch {
	case strings.TrimSpace(s) == "":
		return errors.New("is empty: the line protocol has no empty tags")
	case len(s) > maxText:
		return fmt.Errorf("is longer than %d octets", maxText)
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%s holds a control character", show(s))
	case strings.HasSuffix(s, `\`):
		return fmt.Errorf("%s ends with a backslash, which the line protocol cannot write", show(s))
	}
	return nil
}

func tagText(s string) (string, error) { return s, checkText(s) }

// ownTags collide once they are prefixed: llama_flow has src_addr, dst_addr,
// src_port and dst_port itself.
var ownTags = []string{"addr", "port"}

// readTags reads an explicit map of tags. The words of reserved are settings.
func readTags(v value, tags map[string]string, reserved ...string) {
	for _, p := range v.pairs() {
		if slices.Contains(reserved, p.key) {
			v.d.put(p.at, p.path, "is a setting and no tag: write it beside tags")
			continue
		}
		readTag(p, tags)
	}
}

func readTag(p pair, tags map[string]string) {
	if err := checkText(p.key); err != nil {
		p.d.put(p.at, p.path, "the tag's name "+err.Error())
		return
	}
	if slices.Contains(ownTags, p.key) {
		p.d.put(p.at, p.path, fmt.Sprintf("collides with the tags src_%s and dst_%s of llama_flow: name it otherwise", p.key, p.key))
		return
	}
	if _, again := tags[p.key]; again && !p.d.bad[p.path] {
		p.d.put(p.at, p.path, "given both beside and in tags: remove one")
		return
	}
	var s string
	readScalar(p.value, &s, tagText)
	tags[p.key] = s
}
