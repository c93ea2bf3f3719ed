package main

// Grafana's JSON model of a dashboard, as much of it as is used here
// (grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model).

// schemaVersion is that of Grafana 10.4 and 11: newer ones migrate it when they read it.
const schemaVersion = 39

type dashboard struct {
	UID           string     `json:"uid"` // no id: that is the database's own number
	Title         string     `json:"title"`
	Description   string     `json:"description"`
	Tags          []string   `json:"tags"`
	SchemaVersion int        `json:"schemaVersion"`
	Editable      bool       `json:"editable"`
	GraphTooltip  int        `json:"graphTooltip"` // 1: one crosshair in all panels
	Refresh       string     `json:"refresh"`
	Time          timeRange  `json:"time"`
	Links         []link     `json:"links"`
	Templating    templating `json:"templating"`
	Panels        []panel    `json:"panels"`
}

type timeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type templating struct {
	List []variable `json:"list"`
}

// variable stands above the dashboard. Query is a string, or what the data source wants in its place.
type variable struct {
	Name       string   `json:"name"`
	Label      string   `json:"label"`
	Type       string   `json:"type"`
	Datasource *ref     `json:"datasource,omitempty"`
	Query      any      `json:"query"`
	Definition string   `json:"definition,omitempty"`
	Regex      string   `json:"regex,omitempty"`
	Refresh    int      `json:"refresh,omitempty"` // 1: when the dashboard is opened
	Sort       int      `json:"sort,omitempty"`    // 1: by alphabet
	Hide       int      `json:"hide"`              // 2: not shown
	Multi      bool     `json:"multi"`
	IncludeAll bool     `json:"includeAll"`
	AllValue   string   `json:"allValue,omitempty"`
	Current    any      `json:"current"`
	Options    []option `json:"options"`
}

type option struct {
	Selected bool   `json:"selected"`
	Text     string `json:"text"`
	Value    string `json:"value"`
}

// ref names a data source. Here always by the variable, never by a number of one installation.
type ref struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type link struct {
	Title       string   `json:"title"`
	Type        string   `json:"type,omitempty"` // of a dashboard's links: dashboards, by tag
	Tags        []string `json:"tags,omitempty"`
	URL         string   `json:"url"`
	IncludeVars bool     `json:"includeVars,omitempty"`
	KeepTime    bool     `json:"keepTime,omitempty"`
	AsDropdown  bool     `json:"asDropdown,omitempty"`
}

type panel struct {
	ID              int              `json:"id"` // within the dashboard
	Type            string           `json:"type"`
	Title           string           `json:"title"`
	Description     string           `json:"description,omitempty"`
	GridPos         gridPos          `json:"gridPos"`
	Datasource      *ref             `json:"datasource,omitempty"`
	Interval        string           `json:"interval,omitempty"` // the least $__interval
	Repeat          string           `json:"repeat,omitempty"`   // once a value of this variable
	RepeatDirection string           `json:"repeatDirection,omitempty"`
	Targets         []target         `json:"targets,omitempty"`
	FieldConfig     fieldConfig      `json:"fieldConfig"`
	Options         map[string]any   `json:"options"`
	Transformations []transformation `json:"transformations,omitempty"`
}

// gridPos is in units of a 24th of the width, and of 30 pixels.
type gridPos struct {
	X int `json:"x"`
	Y int `json:"y"`
	W int `json:"w"`
	H int `json:"h"`
}

type fieldConfig struct {
	Defaults  fieldDefaults `json:"defaults"`
	Overrides []override    `json:"overrides"`
}

type fieldDefaults struct {
	Unit       string         `json:"unit,omitempty"`
	Decimals   *int           `json:"decimals,omitempty"`
	Min        *float64       `json:"min,omitempty"`
	NoValue    string         `json:"noValue,omitempty"`
	Color      map[string]any `json:"color,omitempty"`
	Thresholds *thresholds    `json:"thresholds,omitempty"`
	Mappings   []mapping      `json:"mappings,omitempty"`
	Links      []link         `json:"links,omitempty"`
	Custom     map[string]any `json:"custom,omitempty"`
}

type thresholds struct {
	Mode  string `json:"mode"`
	Steps []step `json:"steps"`
}

// step is the colour from a value on; nil is from below everything.
type step struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"`
}

type mapping struct {
	Type    string            `json:"type"`
	Options map[string]mapped `json:"options"`
}

type mapped struct {
	Text  string `json:"text"`
	Color string `json:"color"`
	Index int    `json:"index"`
}

type override struct {
	Matcher    matcher    `json:"matcher"`
	Properties []property `json:"properties"`
}

type matcher struct {
	ID      string `json:"id"`
	Options string `json:"options"`
}

type property struct {
	ID    string `json:"id"`
	Value any    `json:"value"`
}

type transformation struct {
	ID      string         `json:"id"`
	Options map[string]any `json:"options"`
}

// target is a query: of InfluxDB or of Prometheus, as its data source says.
type target struct {
	RefID      string `json:"refId"`
	Datasource *ref   `json:"datasource"`

	// InfluxQL.
	Query        string `json:"query,omitempty"`
	RawQuery     bool   `json:"rawQuery,omitempty"`
	ResultFormat string `json:"resultFormat,omitempty"` // time_series or table
	Alias        string `json:"alias,omitempty"`

	// PromQL.
	Expr         string `json:"expr,omitempty"`
	EditorMode   string `json:"editorMode,omitempty"`
	LegendFormat string `json:"legendFormat,omitempty"`
	Format       string `json:"format,omitempty"` // time_series or table
	Instant      bool   `json:"instant,omitempty"`
	Range        bool   `json:"range,omitempty"`
}
