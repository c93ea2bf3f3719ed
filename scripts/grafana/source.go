package main

// source puts the questions of the dashboards into the language of one data source. What it returns has no refId and
// no data source yet: the panel gives them. A target without a query is a figure that the data source does not have.
//
// "Clean" windows are those without host_drops: the others are no evidence against the network.
type source interface {
	name() string   // of its folder and in uids
	title() string  // for people
	plugin() string // the data source plugin's type

	// by is the variable that says what a row and a column of a matrix is.
	by(tags []string) variable
	// byHost is its value for one host a row.
	byHost() string
	// rtts are the figures of round trips that a matrix can have, the first of them before anyone chooses.
	rtts() []option
	// rttOf says of what a cell's figure is.
	rttOf() string
	// values asks for the values of a tag of llama_path or llama_agent, if within is not nil only where that
	// tag has a value that the variable within.name allows.
	values(measurement, tag string, within *within) any

	lossMatrix() target // of rows with the two tags of `by` and Value
	rttMatrix() target

	count(of pathState) target
	worstLoss() target
	worstRTT() target
	lossyFlows() target

	loss() target                        // of clean windows, a line a path
	total(field, legend string) target   // counts of all paths together
	worst(field, legend string) target   // the highest of all paths, a line a clock
	figure(field, legend string) target  // a line a path and clock
	marks(field, legend string) target   // a line a path
	byHostMax(field, word string) target // the highest of a host's paths, a line a host

	rate(field, legend string) target // of an agent's counter, a second
	now(field, legend string) target  // of an agent's gauge
	sinkRate(suffix, legend string) target
	sinkNow(suffix, legend string) target
	// agents is one row an agent, and the column that says when its last line was.
	agents() (t target, seen string)
}

// within narrows the values of a tag by another variable.
type within struct{ tag, variable string }

// pathState is what paths are counted by.
type pathState int

const (
	allPaths      pathState = iota
	lossyPaths              // with loss in clean windows
	deadPaths               // that lost all probes of all clean windows
	droppingPaths           // with host_drops
	unsentPaths             // with probes that did not leave
)

// Values of a cell that are no measurement. They are below 0, which no loss and no RTT is.
const (
	cellNoEvidence = -1 // probes left; no clean window, or no reply
	cellNotSent    = -2 // no probe left
)

func sources(tags []string) []source {
	return []source{newInfluxQL(tags), newVictoriaMetrics(tags), newScraped(tags)}
}

// host is the name among tags for the host itself, whose tags are src and dst.
const host = "host"

// tagOf is the tag behind a name that cells and filters go by.
func tagOf(side, name string) string {
	if name == host {
		return side
	}
	return side + "_" + name
}

// filterNames are the variables of one side: src_host, src_rack and so on.
func filterNames(tags []string) []string { return append([]string{host}, tags...) }
