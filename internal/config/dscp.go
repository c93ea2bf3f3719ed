package config

import (
	"fmt"
	"strconv"
	"strings"
)

// dscpNames are the codepoints with a name of their own: RFC 2474 (cs), 2597
// (af), 3246 (ef), 5865 (va), 8622 (le).
var dscpNames = map[string]uint8{"be": 0, "le": 1, "va": 44, "ef": 46}

func init() {
	for class := range uint8(8) {
		dscpNames[fmt.Sprintf("cs%d", class)] = class << 3
	}
	for class := uint8(1); class <= 4; class++ {
		for drop := uint8(1); drop <= 3; drop++ {
			dscpNames[fmt.Sprintf("af%d%d", class, drop)] = class<<3 | drop<<1
		}
	}
}

// DSCP reads a codepoint: a number from 0 to 63, or a name (be, le, va, ef, cs0
// to cs7, af11 to af43) in any case.
func DSCP(s string) (uint8, bool) {
	if v, ok := dscpNames[strings.ToLower(s)]; ok {
		return v, true
	}
	if len(s) > 1 && s[0] == '0' { // 010: eight or ten?
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil && n <= 63
}

func parseDSCP(s string) (uint8, error) {
	v, ok := DSCP(s)
	if !ok {
		return 0, fmt.Errorf("%s is not a DSCP: a number from 0 to 63, or be, le, va, ef, cs0 to cs7, af11 to af43", show(s))
	}
	return v, nil
}
