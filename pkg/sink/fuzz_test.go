package sink

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// Whatever a server answers, what is made of it names lines of the batch, fits a log
// line, and shows no secret.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		`{"error":"partial write: unable to parse 'b': missing fields dropped=0"}`, `{"data":[{"line_number":2,"error_message":"x"}]}`,
		`metric parse error: expected tag at 2:8: "b"`, `incorrect influx line "b\nc\n": cannot find Whitespace`, "<html>", `{"error":1}`, "dropped=99999999999999999999",
	} {
		f.Add(400, "", body)
		f.Add(200, "text/html", body)
	}
	f.Fuzz(func(t *testing.T, code int, kind, body string) {
		w, err := NewInflux(InfluxConfig{URL: "http://h", Database: "llama", User: "u", Password: "s3cr3t"})
		if err != nil {
			t.Fatal(err)
		}
		b := Batch{Data: []byte("a\nb\nc\n"), Lines: 3}
		resp := &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {kind}, "Retry-After": {kind}}, Body: readCloser{strings.NewReader(body)}}
		err = w.judge(resp, b)
		if err == nil {
			if code/100 != 2 {
				t.Fatalf("%d is no success", code)
			}
			return
		}
		var f *Failure
		if !errors.As(err, &f) || strings.Contains(err.Error(), "s3cr3t") || len(err.Error()) > 4*maxWords || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Fatalf("%q", err)
		}
		for _, bad := range f.Bad {
			if bad.Line < 0 || bad.Line >= b.Lines || strings.Contains(bad.Why, "s3cr3t") {
				t.Fatalf("%+v", bad)
			}
		}
		if f.Wait < 0 || f.Class < 0 || f.Class >= ErrorClasses {
			t.Fatalf("%+v", f)
		}
	})
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// Whatever is in a file of the spool, it is the lines that its name says or it is
// damaged.
func FuzzUnpack(f *testing.F) {
	var p packer
	good, err := p.pack([]Batch{{Data: []byte("a\nb\n")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, 2)
	f.Add(good[:5], 2)
	f.Fuzz(func(t *testing.T, body []byte, lines int) {
		var u unpacker
		b, err := u.unpack(body, lines)
		if err == nil && (bytes.Count(b.Data, []byte{'\n'}) != lines || b.Lines != lines) {
			t.Fatalf("%q is not %d lines", b.Data, lines)
		}
	})
}

// A name is a batch's, or nothing is made of it.
func FuzzFileName(f *testing.F) {
	f.Add("000000000042-1793708650123-5000.lp.gz")
	f.Add("-1-2-3.lp.gz")
	f.Fuzz(func(t *testing.T, name string) {
		if _, e, ok := parseFileName(name); ok && (e.lines < 0 || e.file != name || strings.Contains(name, "/")) {
			t.Fatalf("%+v", e)
		}
	})
}
