package main

import "slices"

// ptr makes room for nil, which says more than 0.
func ptr[T any](v T) *T { return &v }

// board collects the panels of a dashboard from top to bottom, in rows.
type board struct {
	source source
	panels []panel
	y      int
}

const width = 24

// row adds panels beside each other, all of the same width and height: those of which the data source has a figure.
func (b *board) row(height int, panels ...panel) {
	for i := range panels {
		panels[i].Targets = slices.DeleteFunc(panels[i].Targets, func(t target) bool { return t.Query == "" && t.Expr == "" })
	}
	panels = slices.DeleteFunc(panels, func(p panel) bool { return len(p.Targets) == 0 })
	if len(panels) == 0 {
		return
	}
	w := width / len(panels)
	for i, p := range panels {
		p.ID = len(b.panels) + 1
		p.GridPos = gridPos{X: i * w, Y: b.y, W: w, H: height}
		p.Datasource = dataOf(b.source)
		for j := range p.Targets {
			p.Targets[j].RefID, p.Targets[j].Datasource = string(rune('A'+j)), dataOf(b.source)
		}
		if p.FieldConfig.Overrides == nil {
			p.FieldConfig.Overrides = []override{}
		}
		b.panels = append(b.panels, p)
	}
	b.y += height
}

func (b *board) heading(title string) {
	b.panels = append(b.panels, panel{
		ID: len(b.panels) + 1, Type: "row", Title: title, GridPos: gridPos{Y: b.y, W: width, H: 1},
		FieldConfig: fieldConfig{Overrides: []override{}}, Options: map[string]any{},
	})
	b.y++
}

// dataOf is the data source that is chosen above the dashboard.
func dataOf(s source) *ref { return &ref{Type: s.plugin(), UID: "${datasource}"} }

// window is the least step of a chart: the default of probing.window. With a smaller one most steps are empty.
const window = "10s"

func lines(title, unit, description string, targets ...target) panel {
	return panel{
		Type: "timeseries", Title: title, Description: description, Targets: targets, Interval: window,
		FieldConfig: fieldConfig{Defaults: fieldDefaults{
			Unit: unit, Min: ptr(0.0), Color: map[string]any{"mode": "palette-classic"},
			// A window without a value is a gap, not a line across it.
			Custom: map[string]any{"drawStyle": "line", "lineWidth": 1, "fillOpacity": 0, "showPoints": "auto", "spanNulls": false},
		}},
		Options: map[string]any{
			"legend":  map[string]any{"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": []string{"max", "lastNotNull"}},
			"tooltip": map[string]any{"mode": "multi", "sort": "desc"},
		},
	}
}

// stack draws what adds up, each part in a colour of its own.
func stack(title, unit, description string, colors map[string]string, targets ...target) panel {
	p := lines(title, unit, description, targets...)
	c := p.FieldConfig.Defaults.Custom
	c["drawStyle"], c["fillOpacity"], c["showPoints"] = "bars", 80, "never"
	c["stacking"] = map[string]any{"mode": "normal", "group": "A"}
	for _, t := range targets {
		name := t.Alias + t.LegendFormat
		if color, ok := colors[name]; ok {
			p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, override{
				Matcher:    matcher{ID: "byName", Options: name},
				Properties: []property{{ID: "color", Value: map[string]any{"mode": "fixed", "fixedColor": color}}},
			})
		}
	}
	return p
}

func steps(base string, more ...step) *thresholds {
	return &thresholds{Mode: "absolute", Steps: append([]step{{Color: base}}, more...)}
}

func from(value float64, color string) step { return step{Color: color, Value: ptr(value)} }

// Loss is coloured from the first lost probe on. RTTs are those of a data centre: other networks want other steps.
var (
	lossSteps = steps("green", from(1e-6, "yellow"), from(0.01, "orange"), from(0.05, "red"), from(1, "dark-purple"))
	rttSteps  = steps("green", from(500, "yellow"), from(1000, "orange"), from(5000, "red"))
)

// noFigure shows cells without a measurement as words: an empty cell is a pair that nobody probes.
func noFigure(evidence, color string) []mapping {
	return []mapping{{Type: "value", Options: map[string]mapped{
		"-1": {Text: evidence, Color: color, Index: 0},
		"-2": {Text: "not sent", Color: "#808080", Index: 1},
	}}}
}

const corner = `source\destination` // the first column's name, as the transformation makes it

// cells draws rows of two tags and Value as a matrix.
func cells(title, description string, t target, d fieldDefaults, links ...link) panel {
	d.Links = links
	d.Custom = map[string]any{
		"align": "center", "minWidth": 60, "filterable": false, "inspect": false,
		"cellOptions": map[string]any{"type": "color-background", "mode": "basic"},
	}
	d.Color = map[string]any{"mode": "thresholds"}
	return panel{
		Type: "table", Title: title, Description: description, Targets: []target{t},
		FieldConfig: fieldConfig{Defaults: d, Overrides: []override{{
			Matcher: matcher{ID: "byName", Options: corner},
			Properties: []property{
				{ID: "custom.cellOptions", Value: map[string]any{"type": "auto"}},
				{ID: "custom.align", Value: "left"},
				{ID: "custom.minWidth", Value: 140},
				{ID: "links", Value: []link{}},
			},
		}}},
		Options: map[string]any{"showHeader": true, "cellHeight": "sm", "footer": map[string]any{"show": false}},
		Transformations: append(nameSides(),
			sortBy("destination"), // columns come in the order of rows
			transformation{ID: "groupingToMatrix", Options: map[string]any{
				"rowField": "source", "columnField": "destination", "valueField": "Value", "emptyValue": "null",
			}},
			sortBy(corner)),
	}
}

func sortBy(field string) transformation {
	return transformation{ID: "sortBy", Options: map[string]any{"fields": map[string]any{}, "sort": []map[string]any{{"field": field}}}}
}

// nameSides renames the columns src_rack and dst_rack, or whatever tag was chosen.
func nameSides() []transformation {
	return []transformation{rename("src.*", "source"), rename("dst.*", "destination")}
}

func rename(pattern, name string) transformation {
	return transformation{ID: "renameByRegex", Options: map[string]any{"regex": pattern, "renamePattern": name}}
}

// table shows rows as they come, the column Value under another name and in colours, and without the time.
func table(title, description, value string, t target, d fieldDefaults, links ...link) panel {
	colored := []property{
		{ID: "custom.cellOptions", Value: map[string]any{"type": "color-background", "mode": "basic"}},
		{ID: "unit", Value: d.Unit},
		{ID: "thresholds", Value: d.Thresholds},
		{ID: "color", Value: map[string]any{"mode": "thresholds"}},
	}
	return panel{
		Type: "table", Title: title, Description: description, Targets: []target{t},
		FieldConfig: fieldConfig{
			Defaults:  fieldDefaults{Links: links, Custom: map[string]any{"align": "auto", "cellOptions": map[string]any{"type": "auto"}, "filterable": true}},
			Overrides: []override{{Matcher: matcher{ID: "byName", Options: value}, Properties: colored}},
		},
		Options: map[string]any{
			"showHeader": true, "cellHeight": "sm", "footer": map[string]any{"show": false},
			"sortBy": []map[string]any{{"displayName": value, "desc": true}},
		},
		Transformations: []transformation{{ID: "organize", Options: map[string]any{
			"excludeByName": map[string]bool{"Time": true, "db": true}, "indexByName": map[string]int{}, "renameByName": map[string]string{"Value": value},
		}}},
	}
}

// number shows one figure; nothing at all is 0 of them.
func number(title, description string, t target, colors *thresholds) panel {
	return panel{
		Type: "stat", Title: title, Description: description, Targets: []target{t},
		FieldConfig: fieldConfig{Defaults: fieldDefaults{Unit: "none", NoValue: "0", Thresholds: colors, Color: map[string]any{"mode": "thresholds"}}},
		Options: map[string]any{
			"colorMode": "value", "graphMode": "none", "textMode": "auto", "justifyMode": "auto",
			"reduceOptions": map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
		},
	}
}
