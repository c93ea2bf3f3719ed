package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

const (
	maxFile   = 16 << 20  // octets
	maxValues = 1_000_000 // keys and values: 100,000 targets with four tags each
)

// document reads the one YAML document of a file; nil if it is empty.
func document(file string, data []byte) (*yaml.Node, *Problem) {
	if len(data) > maxFile {
		return nil, &Problem{File: file, Text: fmt.Sprintf("larger than %d MiB", maxFile>>20)}
	}
	if p := badText(file, data); p != nil {
		return nil, p
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, syntaxProblem(file, data, err)
	}
	switch err := dec.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, syntaxProblem(file, data, err)
	default:
		return nil, &Problem{File: file, Line: more.Line, Col: more.Column,
			Text: "a second YAML document begins: a configuration is one"}
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	if left := maxValues; !countDown(&doc, &left) {
		return nil, &Problem{File: file, Text: fmt.Sprintf("more than %d keys and values", maxValues)}
	}
	return doc.Content[0], nil
}

// countDown tells whether n has no more than left nodes. Aliases are not followed.
func countDown(n *yaml.Node, left *int) bool {
	*left -= len(n.Content)
	for _, c := range n.Content {
		if *left < 0 {
			return false
		}
		countDown(c, left)
	}
	return *left >= 0
}

// badText finds what no YAML file may hold, since the parser names no line for it.
func badText(file string, data []byte) *Problem {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return &Problem{File: file, Line: 1, Col: 1, Text: "UTF-16: write the file in UTF-8"}
	}
	line, col := 1, 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return &Problem{File: file, Line: line, Col: col, Text: fmt.Sprintf("octet 0x%02x is not UTF-8", data[i])}
		case r < ' ' && r != '\n' && r != '\r' && r != '\t', r == 0x7f:
			return &Problem{File: file, Line: line, Col: col, Text: fmt.Sprintf("control character 0x%02x", r)}
		case r == '\n':
			line, col = line+1, 0
		}
		i, col = i+n, col+1
	}
	return nil
}

var (
	syntaxLine    = regexp.MustCompile(`^line (\d+): `)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// syntaxProblem finds the line in an error of the YAML parser.
func syntaxProblem(file string, data []byte, err error) *Problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	p := &Problem{File: file}
	if m := syntaxLine.FindStringSubmatch(text); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	} else if m := unknownAnchor.FindStringSubmatch(text); m != nil {
		if at := bytes.Index(data, []byte("*"+m[1])); at >= 0 {
			p.Line = 1 + bytes.Count(data[:at], []byte("\n"))
		}
	}
	p.Text = "not YAML: " + text
	return p
}
