package main

import "strings"

// chosen is what a variable is before anyone chooses.
type chosen struct {
	Text  any `json:"text"`
	Value any `json:"value"`
}

// choice is of values that the data source knows, several of them or all.
func choice(s source, name, label, measurement, tag string, w *within) variable {
	v := variable{
		Name: name, Label: label, Type: "query", Datasource: dataOf(s), Query: s.values(measurement, tag, w), Refresh: 1, Sort: 1,
		Multi: true, IncludeAll: true, AllValue: ".*", // hosts without the tag too
		Current: chosen{Text: []string{"All"}, Value: []string{"$__all"}}, Options: []option{},
	}
	switch q := v.Query.(type) {
	case string:
		v.Definition = q
	case map[string]string:
		v.Definition = q["query"]
	}
	return v
}

// custom is of fixed values, the first of them before anyone chooses.
func custom(name, label string, options []option) variable {
	query := ""
	for i, o := range options {
		if i > 0 {
			query += ","
		}
		query += o.Text + " : " + strings.ReplaceAll(o.Value, ",", `\,`)
	}
	return variable{
		Name: name, Label: label, Type: "custom", Query: query, Options: options,
		Current: chosen{Text: options[0].Text, Value: options[0].Value},
	}
}

func datasource(s source) variable {
	return variable{Name: "datasource", Label: "Data source", Type: "datasource", Query: s.plugin(), Current: map[string]any{}, Options: []option{}}
}

// pathFilters choose paths: by host and by each tag of both ends, and by class and family.
func pathFilters(s source, tags []string) []variable {
	var all []variable
	for _, side := range [][2]string{{"src", "From"}, {"dst", "To"}} {
		for _, n := range filterNames(tags) {
			all = append(all, choice(s, side[0]+"_"+n, side[1]+" "+n, "llama_path", tagOf(side[0], n), nil))
		}
	}
	return append(all,
		choice(s, "class", "Class", "llama_path", "class", nil),
		choice(s, "family", "IP version", "llama_path", "family", nil))
}

// clock chooses among clocks that have durations: mixed has only counts.
func clock(s source) variable {
	v := choice(s, "clock", "Clock", "llama_path", "clock", nil)
	v.Regex, v.AllValue = "/kernel|socket|user/", ""
	return v
}
