package sink

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxWords bounds what a server's answer adds to an error.
const maxWords = 300

// refusal turns an answer that is not 2xx into an error: one that wraps
// ErrRefused where the same batch would get the same answer.
func (w *Influx) refusal(resp *http.Response) error {
	words := w.redact(serverWords(resp.Body))
	said := fmt.Errorf("server answered %d: %s", resp.StatusCode, words)
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		if wait := parseRetryAfter(resp.Header.Get("Retry-After"), time.Now()); wait > 0 {
			return &retryAfter{err: said, wait: wait}
		}
		return said
	case code == http.StatusNotFound:
		return fmt.Errorf("%w: %w; %s", ErrRefused, said, w.mend404(words))
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fmt.Errorf("%w: %w; check the user and password or the token, and its right to write", ErrRefused, said)
	case code == http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w: %w; raise the server's limit on the size of a request", ErrRefused, said)
	case code/100 == 3:
		return fmt.Errorf("%w: server answered %d, a redirect to %s, which is not followed; put the final address into url",
			ErrRefused, code, w.redact(bareLocation(resp)))
	default:
		return fmt.Errorf("%w: %w", ErrRefused, said)
	}
}

// mend404 says what to do about a 404: something named is missing, or this is no
// write API at all.
func (w *Influx) mend404(words string) string {
	if !strings.Contains(words, "not found") || !mentions(words, "database", "bucket", "organization") {
		return "no write API at this address: check url, and database or bucket by the server's version"
	}
	if w.cfg.Bucket != "" {
		return fmt.Sprintf("bucket %q of organisation %q is missing: influx bucket create --org %q --name %q",
			w.cfg.Bucket, w.cfg.Org, w.cfg.Org, w.cfg.Bucket)
	}
	return fmt.Sprintf("database %q is missing: influx -execute 'CREATE DATABASE %s'",
		w.cfg.Database, strconv.Quote(w.cfg.Database))
}

func mentions(words string, any ...string) bool {
	for _, s := range any {
		if strings.Contains(words, s) {
			return true
		}
	}
	return false
}

// serverWords reads the server's explanation: the error or message of its JSON, or
// the text, bounded and fit for a log line.
func serverWords(body io.Reader) string {
	raw, _ := io.ReadAll(io.LimitReader(body, 4096)) // what came is what there is to say
	text := string(raw)
	var doc struct{ Error, Message string }
	if json.Unmarshal(raw, &doc) == nil {
		if doc.Message != "" {
			text = doc.Message
		} else if doc.Error != "" {
			text = doc.Error
		}
	}
	return printable(text)
}

func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return ' '
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if text == "" {
		return "(no words)"
	}
	if r := []rune(text); len(r) > maxWords {
		text = string(r[:maxWords]) + "…"
	}
	return text
}

// bareLocation is where a redirect leads, without user, query and fragment.
func bareLocation(resp *http.Response) string {
	u, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || u.String() == "" {
		return "nowhere"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return printable(u.String())
}

// parseRetryAfter reads both forms of the header, seconds and a date; 0 if absent,
// past or unreadable.
func parseRetryAfter(value string, now time.Time) time.Duration {
	if s, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
