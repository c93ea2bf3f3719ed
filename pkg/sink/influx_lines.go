package sink

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

// The words by which servers say that it is about lines: InfluxDB 1, 2 and 3, and
// Telegraf's listeners.
var (
	aboutLines = regexp.MustCompile(`(?i)partial write|unable to parse|pars(e|ing) error|parsing failed|type conflict|line protocol|max key length|beyond retention`)
	droppedAll = regexp.MustCompile(`dropped=(\d+)`)
	// InfluxDB 1 and 2: unable to parse 'LINE': REASON, one a row of the message.
	quotedLine = regexp.MustCompile(`unable to parse '(.*)': (.+)`)
)

// named fills in what a 400 or 422 says of the lines of b.
func (w *Influx) named(f *Failure, raw []byte, b Batch) {
	f.Sure = aboutLines.Match(raw)
	if m := droppedAll.FindSubmatch(raw); m != nil {
		n, err := strconv.Atoi(string(m[1]))
		f.All = err == nil && n >= b.Lines && n > 0
	}
	var doc struct {
		Error, Message string
		Data           json.RawMessage
	}
	if json.Unmarshal(raw, &doc) != nil {
		return
	}
	var v3 []struct { // InfluxDB 3: each bad line by its number, from 1
		Line  int    `json:"line_number"`
		Error string `json:"error_message"`
	}
	if json.Unmarshal(doc.Data, &v3) == nil {
		for _, bad := range v3 {
			if bad.Line >= 1 && bad.Line <= b.Lines {
				f.Bad = append(f.Bad, BadLine{bad.Line - 1, w.redact(bad.Error)})
			}
		}
		f.Sure = f.Sure || len(f.Bad) > 0
		return
	}
	f.Bad = quoted(doc.Error+"\n"+doc.Message, b)
}

// quoted finds the lines of b that a message quotes.
func quoted(message string, b Batch) (bad []BadLine) {
	why := map[string]string{}
	for row := range strings.Lines(message) {
		if m := quotedLine.FindStringSubmatch(strings.TrimSpace(row)); m != nil {
			why[m[1]] = m[2]
		}
	}
	if len(why) == 0 {
		return nil
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
