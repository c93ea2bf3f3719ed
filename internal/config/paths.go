package config

import "github.com/llama-agent/llama-agent/internal/probe"

// pathFields is how many equal paths lead to targets with certain tags.
func pathFields(r *PathRule) []field {
	return []field{
		{key: "tags", read: func(v value) {
			r.Tags = map[string]string{}
			readTags(v, r.Tags)
		}},
		scalar("count", &r.Count, integer(1, maxPaths)),
	}
}

func (d *decoder) readPaths(v value) {
	items := v.list()
	rules := make([]PathRule, len(items))
	for i, item := range items {
		item.section(pathFields(&rules[i]))
		if !item.sets("count") {
			item.problem("has no count: how many equal paths there are")
		}
	}
	d.cfg.Probing.Paths = rules
}

// assignPaths gives each target the number of the first rule that it matches, unless
// it has one of its own.
func (d *decoder) assignPaths() {
	for i := range d.cfg.Targets {
		d.assignPath(&d.cfg.Targets[i], d.cfg.Probing.Paths)
	}
}

func (d *decoder) assignPath(t *probe.Target, rules []PathRule) {
	if t.Paths != 0 || d.given[targetPath(t)+".paths"] != nil {
		return
	}
	for _, r := range rules {
		if r.matches(t.Tags) {
			t.Paths = r.Count
			return
		}
	}
}

func (r *PathRule) matches(tags map[string]string) bool {
	for k, v := range r.Tags {
		if have, ok := tags[k]; !ok || have != v {
			return false
		}
	}
	return true
}
