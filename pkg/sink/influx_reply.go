package sink

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxWords bounds what a server's answer adds to an error.
const maxWords = 300

// maxAnswer bounds what is read of an answer. InfluxDB 3 repeats each bad line in it.
const maxAnswer = 256 << 10

// judge turns an answer into what is to be done. That of a write API is 204 without
// a body.
func (w *Influx) judge(resp *http.Response, b Batch) error {
	if resp.StatusCode == http.StatusNoContent {
		return nil
	}
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what came is what there is to say
	words := w.redact(serverWords(raw))
	f := &Failure{Err: fmt.Errorf("server answered %d: %s", resp.StatusCode, words)}
	hold := func(class ErrorClass, mend string) error {
		return &Failure{Class: class, Do: Hold, Err: fmt.Errorf("%w; %s", f.Err, mend)}
	}
	switch code := resp.StatusCode; {
	case code/100 == 2:
		return w.judgeSuccess(resp, raw, hold)
	case missing.MatchString(words): // whatever the code: 404, or 500 and 400 of InfluxDB 1 and VictoriaMetrics
		return hold(ErrorHTTP4xx, w.mend404(words))
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		f.Class = ErrorHTTP5xx
		if code < 500 {
			f.Class = ErrorBusy
		}
		if f.Wait = parseRetryAfter(resp.Header.Get("Retry-After"), time.Now()); f.Wait > 0 {
			f.Err = fmt.Errorf("%w (retry after %s)", f.Err, f.Wait)
		}
		return f
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return hold(ErrorAuth, "check the user and password or the token, and its right to write")
	case code == http.StatusNotFound || code == http.StatusMethodNotAllowed:
		return hold(ErrorHTTP4xx, w.mend404(words))
	case code == http.StatusProxyAuthRequired:
		return hold(ErrorAuth, "the proxy wants a user and a password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT")
	case code/100 == 3:
		return hold(ErrorAnswer, fmt.Sprintf("it is a redirect to %s, which is not followed; put the final address into url",
			w.redact(bareLocation(resp))))
	case code == http.StatusRequestEntityTooLarge:
		return &Failure{Class: ErrorHTTP4xx, Do: Refuse, Sure: true, Err: f.Err}
	}
	f.Class, f.Do = ErrorHTTP4xx, Refuse
	w.named(f, raw, b)
	return f
}

// judgeSuccess believes a 200 only if it does not look like a web page or an error:
// a login page answers 200 to everything, and takes no line.
func (w *Influx) judgeSuccess(resp *http.Response, raw []byte, hold func(ErrorClass, string) error) error {
	kind := resp.Header.Get("Content-Type")
	text := strings.TrimSpace(string(raw))
	switch {
	case strings.HasPrefix(kind, "text/html") || strings.HasPrefix(text, "<"):
		return hold(ErrorAnswer, "that is a web page and no write API: check url")
	case strings.HasPrefix(text, "{") && strings.Contains(text, `"error"`):
		return hold(ErrorAnswer, "that is an error and no success: check url, and database or bucket by the server's version")
	}
	return nil
}

// missing is what servers say of something named that they do not have.
var missing = regexp.MustCompile(`(database|bucket|organization|retention policy)\b.* not found|(database|bucket|retention policy) not found|unsupported path`)

// mend404 says what to do about a 404: something named is missing, or this is no
// write API at all.
func (w *Influx) mend404(words string) string {
	has := func(text string) bool { return strings.Contains(words, text) }
	database, policy := w.cfg.Database, w.cfg.RetentionPolicy
	if database == "" { // InfluxDB 1.8 reads a bucket as DATABASE/POLICY
		database, policy, _ = strings.Cut(w.cfg.Bucket, "/")
	}
	switch {
	case has("retention policy") && has("not found"):
		return fmt.Sprintf("retention policy %q of database %q is missing: influx -execute 'CREATE RETENTION POLICY %s ON %s DURATION 30d REPLICATION 1'",
			policy, database, strconv.Quote(policy), strconv.Quote(database))
	case has("database not found"):
		return fmt.Sprintf("database %q is missing: influx -execute 'CREATE DATABASE %s'", database, strconv.Quote(database))
	case has("not found") && (has("bucket") || has("organization")):
		return fmt.Sprintf("bucket %q of organisation %q is missing: influx bucket create --org %q --name %q",
			w.cfg.Bucket, w.cfg.Org, w.cfg.Org, w.cfg.Bucket)
	}
	return "no write API at this address: check url, and database or bucket by the server's version"
}

// serverWords is the server's explanation: the error or message of its JSON, or
// the text, bounded and fit for a log line.
func serverWords(raw []byte) string {
	text := string(raw[:min(len(raw), 4096)])
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
