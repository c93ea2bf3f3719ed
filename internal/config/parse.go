package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The parsers of single values. Their errors say what is wrong and what would
// be right, and become the text of a problem.

func text(s string) (string, error) { return s, nil }

func boolean(s string) (bool, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither true nor false", show(s))
}

// integer reads a decimal number. What begins with 0 is octal to some readers
// of YAML, and refused.
func integer[T ~int | ~uint16](lo, hi T) func(string) (T, error) {
	return func(s string) (T, error) {
		n, err := strconv.ParseInt(s, 10, 64)
		if errors.Is(err, strconv.ErrRange) {
			err, n = nil, int64(hi)+1
		}
		if err != nil || len(s) > 1 && s[0] == '0' || s[0] == '+' {
			return 0, fmt.Errorf("%s is not a whole number from %d to %d", show(s), lo, hi)
		}
		if n < int64(lo) || n > int64(hi) {
			return 0, fmt.Errorf("%s is not from %d to %d", s, lo, hi)
		}
		return T(n), nil
	}
}

// number reads a decimal number that need not be whole.
func number(lo, hi float64) func(string) (float64, error) {
	return func(s string) (float64, error) {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || !decimal.MatchString(s) {
			return 0, fmt.Errorf("%s is not a number from %g to %g", show(s), lo, hi)
		}
		if n < lo || n > hi {
			return 0, fmt.Errorf("%s is not from %g to %g", s, lo, hi)
		}
		return n, nil
	}
}

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)

var parsePort = integer[uint16](1, 65535)

var (
	bareNumber  = regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]+)?$`)
	spacedUnits = regexp.MustCompile(`^[0-9.]+\s+[a-zµ]+$`)
)

// duration reads a number with its unit.
func duration(lo, hi time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		if bareNumber.MatchString(s) {
			return 0, fmt.Errorf("%s has no unit: write %ss or %sms", s, s, s)
		}
		d, err := time.ParseDuration(s)
		switch {
		case err != nil && spacedUnits.MatchString(s):
			return 0, fmt.Errorf("%s has a space: write %s", show(s), strings.Join(strings.Fields(s), ""))
		case err != nil:
			return 0, fmt.Errorf("%s is not a duration: write a number and its unit, as 500ms, 10s or 1m", show(s))
		case d <= 0:
			return 0, fmt.Errorf("%s is not above zero: from %s to %s", s, short(lo), short(hi))
		case d < lo || d > hi:
			return 0, fmt.Errorf("%s is not from %s to %s", s, short(lo), short(hi))
		}
		return d, nil
	}
}

// short is a duration without the units that are zero: 1m, not 1m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// size reads a number of octets with its unit.
func size[T ~int | ~int64](lo, hi T) func(string) (T, error) {
	return func(s string) (T, error) {
		for i, unit := range []string{"KiB", "MiB", "GiB"} {
			digits, ok := strings.CutSuffix(s, unit)
			if !ok {
				continue
			}
			shift := 10 * (i + 1)
			n, err := strconv.ParseInt(digits, 10, 63-shift)
			if err != nil || !decimal.MatchString(digits) || n<<shift < int64(lo) || n<<shift > int64(hi) {
				break
			}
			return T(n << shift), nil
		}
		return 0, fmt.Errorf("%s is not a whole number with its unit, as 512KiB, 64MiB or 1GiB, from %s to %s", show(s), octets(int64(lo)), octets(int64(hi)))
	}
}

// octets is a size in the largest unit that divides it.
func octets(n int64) string {
	unit := "KiB"
	n >>= 10
	for _, larger := range []string{"MiB", "GiB"} {
		if n%1024 != 0 || n == 0 {
			break
		}
		n, unit = n>>10, larger
	}
	return strconv.FormatInt(n, 10) + unit
}

func oneOfWords[T ~string](words ...T) func(string) (T, error) {
	return func(s string) (T, error) {
		all := make([]string, len(words))
		for i, w := range words {
			if all[i] = string(w); s == all[i] {
				return w, nil
			}
		}
		return "", fmt.Errorf("%s is none of %s", show(s), strings.Join(all, ", "))
	}
}

// parsePrefix reads a prefix; an address stands for itself alone.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("%s is not a prefix: write 10.0.0.0/8 or fd00::/8", show(s))
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%s is IPv4 in IPv6: write the IPv4 prefix", s)
	case p != p.Masked():
		return p, fmt.Errorf("%s has bits beyond its length: write %s", s, p.Masked())
	}
	return p, nil
}

// parseListen reads ADDR:PORT, and :PORT for all addresses.
func parseListen(s string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s is not an address and port: write \":862\", \"10.0.0.1:862\" or \"[fd00::1]:862\"", show(s))
	}
	p, err := parsePort(port)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %w", err)
	}
	if host == "" {
		return netip.AddrPortFrom(netip.Addr{}, p), nil
	}
	a, err := netip.ParseAddr(host)
	if err != nil || a.IsMulticast() {
		return netip.AddrPort{}, fmt.Errorf("%s is not a unicast IP address", show(host))
	}
	return netip.AddrPortFrom(a.Unmap(), p), nil
}

// parseAPIListen reads HOST:PORT; "" turns the server off.
func parseAPIListen(s string) (string, error) {
	if s == "" {
		return s, nil
	}
	host, _, ok := strings.Cut(s, ":")
	if ok && host == "localhost" {
		_, err := parseListen(strings.TrimPrefix(s, host))
		return s, err
	}
	_, err := parseListen(s)
	return s, err
}

func parseInterface(s string) (string, error) {
	// The kernel's dev_valid_name: 1 to 15 octets, no slash, colon or space.
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\r\n\v\f") {
		return "", fmt.Errorf("%s is not the name of an interface", show(s))
	}
	return s, nil
}

// parseDevice takes "" as none.
func parseDevice(s string) (string, error) {
	if s == "" {
		return s, nil
	}
	return parseInterface(s)
}

func parseAbsolute(s string) (string, error) {
	if !filepath.IsAbs(s) || filepath.Clean(s) != s || checkText(s) != nil {
		return "", fmt.Errorf("%s is not a plain absolute path", show(s))
	}
	return s, nil
}
