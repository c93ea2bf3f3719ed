package scraper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// The bounds of what is believed.
const (
	maxPoints = 1 << 17 // of an answer; an agent serves half of that
	maxTags   = 64
	maxFields = 64
	maxKey    = 128 // octets
	maxValue  = 256 // octets of a tag's value
	maxAge    = 7 * 24 * time.Hour
	maxAhead  = 10 * time.Minute
	atOnce    = 1000 // points that are handed on together
)

// measurements are those of collectors: of the Go version and of this agent, and of the
// Python version. What else an answer may name is no business of its collector.
var measurements = map[string]bool{"raw_stats": true, "rtt": true, "loss": true}

// decoder reads an answer as it comes, so that it is never in memory as a whole.
type decoder struct {
	now             time.Time
	emit            func([]Point)
	points, refused int
	batch           []Point
}

// decode reads an array of points. Those before an error have been handed on.
func (d *decoder) decode(r io.Reader) error {
	defer d.flush()
	dec := json.NewDecoder(r)
	dec.UseNumber()
	switch first, err := dec.Token(); {
	case errors.Is(err, io.EOF):
		return errors.New("is empty")
	case err != nil:
		return fmt.Errorf("is not JSON: %w", err)
	case first != json.Delim('['):
		return errors.New("is JSON, and no array of points")
	}
	for dec.More() {
		if d.points+d.refused == maxPoints {
			return fmt.Errorf("has more than %d points", maxPoints)
		}
		var p answered
		var wrong *json.UnmarshalTypeError
		if err := dec.Decode(&p); errors.As(err, &wrong) {
			d.refused++
		} else if err != nil {
			return fmt.Errorf("is not JSON at octet %d: %w", dec.InputOffset(), err)
		} else {
			d.take(&p)
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("ends too early: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("goes on after its array of points")
	}
	return nil
}

// answered is a point as collectors write it.
type answered struct {
	Measurement string         `json:"measurement"`
	Tags        map[string]any `json:"tags"`
	Fields      map[string]any `json:"fields"`
	Time        any            `json:"time"`
}

func (d *decoder) take(a *answered) {
	at, ok := d.time(a.Time)
	tags, good := tagsOf(a.Tags)
	fields := fieldsOf(a.Fields)
	if !ok || !good || len(fields) == 0 || !measurements[a.Measurement] {
		d.refused++
		return
	}
	d.points++
	d.batch = append(d.batch, Point{Measurement: a.Measurement, Tags: tags, Fields: fields, Time: at})
	if len(d.batch) == atOnce {
		d.flush()
	}
}

func (d *decoder) flush() {
	if len(d.batch) > 0 {
		d.emit(d.batch)
		d.batch = nil // it is the receiver's now
	}
}

// time reads that of a point: text as in RFC 3339, whole nanoseconds as the Python version
// has it, or none. The Go version says year 1 always. Without one it is now, to the
// second, as Dropbox's scraper has its database write it.
func (d *decoder) time(v any) (time.Time, bool) {
	var at time.Time
	switch v := v.(type) {
	case nil:
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return at, false
		}
		at = t
	case json.Number:
		ns, err := v.Int64()
		if err != nil {
			return at, false
		}
		at = time.Unix(0, ns)
	default:
		return at, false
	}
	if at.IsZero() {
		return d.now.Truncate(time.Second), true
	}
	age := d.now.Sub(at)
	return at, age <= maxAge && age >= -maxAhead
}

// tagsOf are the tags as text: the Python version has numbers where its configuration
// does. An empty one is no tag. One beyond the bounds makes the point another series, so
// that the point is not good.
func tagsOf(m map[string]any) (tags map[string]string, good bool) {
	if len(m) > maxTags {
		return nil, false
	}
	tags = make(map[string]string, len(m))
	for k, v := range m {
		var text string
		switch v := v.(type) {
		case nil:
		case string:
			text = v
		case json.Number:
			text = v.String()
		case bool:
			text = strconv.FormatBool(v)
		default:
			return nil, false
		}
		if k == "" || len(k) > maxKey || len(text) > maxValue || !utf8.ValidString(k) || !utf8.ValidString(text) {
			return nil, false
		}
		if text != "" {
			tags[k] = text
		}
	}
	return tags, true
}

// fieldsOf are the fields that have a number; the Python version has null where there is
// none yet.
func fieldsOf(m map[string]any) map[string]float64 {
	if len(m) > maxFields {
		return nil
	}
	fields := make(map[string]float64, len(m))
	for k, v := range m {
		n, ok := v.(json.Number)
		if !ok || k == "" || len(k) > maxKey {
			continue
		}
		if f, err := n.Float64(); err == nil && !math.IsInf(f, 0) {
			fields[k] = f
		}
	}
	return fields
}
