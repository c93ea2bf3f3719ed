// Command grafana writes the dashboards and the provisioning files of deploy/grafana.
//
//	go run ./scripts/grafana                              what is committed
//	go run ./scripts/grafana -tags rack,pod -out /tmp/g   for a fleet whose hosts have the tags rack and pod
//
// Everything is written for one data source at a time, since each has a language of its own.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	out := flag.String("out", "deploy/grafana", "`folder` to write to")
	tags := flag.String("tags", strings.Join(defaultTags, ","), "host.tags that cells and filters may go by")
	flag.Parse()
	if err := run(*out, strings.Split(*tags, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "grafana:", err)
		os.Exit(1)
	}
}

var defaultTags = []string{"rack", "cluster", "datacenter"}

// tagName is what may stand in the name of a variable and unquoted in a label matcher.
var tagName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func run(out string, tags []string) error {
	for _, t := range tags {
		if !tagName.MatchString(t) || t == host {
			return fmt.Errorf("tag %q: want a name of a to z, 0 to 9 and _, other than %q", t, host)
		}
	}
	files, err := render(tags)
	if err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(out, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render returns the files by their paths below the output folder.
func render(tags []string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, s := range sources(tags) {
		for name, d := range map[string]dashboard{"matrix": matrix(s, tags), "pair": pair(s, tags), "agents": agents(s)} {
			text, err := encode(d)
			if err != nil {
				return nil, fmt.Errorf("encode %s: %w", d.UID, err)
			}
			files[filepath.Join("dashboards", s.name(), name+".json")] = text
		}
	}
	return files, nil
}

// encode leaves <, > and & as they are, so that queries can be read.
func encode(d dashboard) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(d)
	return b.Bytes(), err
}
