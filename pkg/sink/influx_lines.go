package sink

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

// The words by which servers say that it is about lines: InfluxDB 1, 2 and 3,
// Telegraf's listeners, VictoriaMetrics.
var (
	aboutLines = regexp.MustCompile(`(?i)partial write|unable to parse|pars(e|ing) error|parsing failed|type conflict|line protocol|max key length|beyond retention`)
	dropped    = regexp.MustCompile(`\s*dropped=(\d+)`)
	// InfluxDB 1 and 2, one a row of the message.
	quotedLine = regexp.MustCompile(`unable to parse '(.*)': (.+)`)
	// VictoriaMetrics quotes all from the first bad line on.
	quotedRest = regexp.MustCompile(`incorrect influx line ("(?:[^"\\]|\\.)*"): (.+)`)
	// Telegraf names the first bad line, from 1, and the column.
	numberedLine = regexp.MustCompile(`parse error: (.+) at (\d+):\d+`)
)

// named fills in what a 400 or 422 says of the lines of b.
func (w *Influx) named(f *Failure, raw []byte, b Batch) {
	f.Sure = aboutLines.Match(raw)
	if m := dropped.FindSubmatch(raw); m != nil {
		n, err := strconv.Atoi(string(m[1]))
		f.All = err == nil && n >= b.Lines && n > 0
	}
	var doc struct {
		Error, Message string
		Data           json.RawMessage
	}
	message := string(raw)
	if json.Unmarshal(raw, &doc) == nil {
		message = doc.Error + "\n" + doc.Message
	}
	var v3 []struct { // InfluxDB 3: each bad line by its number, from 1
		Line  int    `json:"line_number"`
		Error string `json:"error_message"`
	}
	switch m := numberedLine.FindStringSubmatch(message); {
	case json.Unmarshal(doc.Data, &v3) == nil:
		for _, bad := range v3 {
			f.bad(bad.Line, bad.Error, b)
		}
	case m != nil:
		n, _ := strconv.Atoi(m[2]) // 0 is no line
		f.bad(n, m[1], b)
	default:
		f.Bad = quoted(message, b)
	}
	for i := range f.Bad {
		f.Bad[i].Why = w.redact(f.Bad[i].Why)
	}
	f.Sure = f.Sure || len(f.Bad) > 0
}

// bad adds a line by its number, if the batch has it.
func (f *Failure) bad(number int, why string, b Batch) {
	if number >= 1 && number <= b.Lines {
		f.Bad = append(f.Bad, BadLine{number - 1, why})
	}
}

// quoted finds the lines of b that a message quotes.
func quoted(message string, b Batch) (bad []BadLine) {
	why := map[string]string{}
	for row := range strings.Lines(message) {
		row = strings.TrimSpace(row)
		if m := quotedLine.FindStringSubmatch(row); m != nil {
			why[m[1]] = dropped.ReplaceAllString(m[2], "")
		}
		if m := quotedRest.FindStringSubmatch(row); m != nil {
			rest, _ := strconv.Unquote(m[1])
			line, _, _ := strings.Cut(rest, "\n")
			why[line] = m[2]
		}
	}
	i := 0
	for line := range bytes.Lines(b.Data) {
		if reason, ok := why[string(bytes.TrimSuffix(line, []byte{'\n'}))]; ok {
			bad = append(bad, BadLine{i, reason})
		}
		i++
	}
	return bad
}
