package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// nodes is a map that is being written, with comments above its keys.
type nodes struct{ n yaml.Node }

func newNodes() *nodes { return &nodes{yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}} }

// add appends a key; an empty map is left out, its comments are not.
func (m *nodes) add(key string, value *yaml.Node, notes ...string) {
	k := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key, HeadComment: strings.Join(notes, "\n")}
	m.n.Content = append(m.n.Content, k, value)
}

// textNode is quoted where it would be taken for something else than text.
func textNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}

func intNode(n int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(n)}
}

func timeNode(d time.Duration) *yaml.Node { return textNode(short(d)) }

func listNode(items ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle, Content: items}
}

func tagsNode(tags []oldTag) *yaml.Node {
	m := newNodes()
	for _, t := range tags {
		m.add(t.key, textNode(t.value))
	}
	m.n.Style = yaml.FlowStyle
	return &m.n
}

// document is the new file's.
func (o *oldConfig) document(port uint16) *yaml.Node {
	m := newNodes()
	if len(o.hostTags) > 0 {
		host := newNodes()
		var tags []oldTag
		for _, k := range sortedKeys(o.hostTags) {
			tags = append(tags, oldTag{k, o.hostTags[k]})
		}
		host.add("tags", tagsNode(tags), "The tags src_… of all targets. This host's name is the system's, unless name says otherwise.")
		m.add("host", &host.n)
	}
	m.add("reflector", o.reflector(port))
	m.add("classes", o.classesNode(), o.notes["classes"]...)
	m.add("probing", o.probing(), o.notes["probing"]...)
	m.add("targets", o.targetsNode(port), append([]string{
		fmt.Sprintf("Probes are STAMP now, to port %d: reflectors of ours have to run there. Old ports were those of LLAMA's own probes.", port),
	}, o.notes["targets"]...)...)
	m.add("api", o.apiNode())
	head := append([]string{"From Dropbox's LLAMA, by llama-agent config import."}, o.notes[""]...)
	m.n.HeadComment = strings.Join(head, "\n") + "\n\n"
	m.n.FootComment = "The old scraper can go on reading api.listen. To have this agent write by itself, and spare the scraper:\n" +
		"sinks: [{influx: {url: \"http://127.0.0.1:8086\", database: llama, schema: both}}]"
	return &m.n
}

func (o *oldConfig) reflector(port uint16) *yaml.Node {
	r := newNodes()
	if port != DefaultPort {
		r.add("listen", listNode(textNode(":"+strconv.Itoa(int(port)))))
	}
	r.add("legacy", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"},
		"Answer old collectors too, on port 8100, for as long as there are any.")
	if outside := o.outside(); len(outside) > 0 {
		r.add("allow", o.allowNode())
	}
	return &r.n
}

// allowNode is the default, and the targets that are outside it.
func (o *oldConfig) allowNode() *yaml.Node {
	list := listNode()
	for _, word := range []string{"private", "ula", "link-local", "loopback", "connected"} {
		list.Content = append(list.Content, textNode(word))
	}
	for _, a := range o.outside() {
		list.Content = append(list.Content, textNode(a.String()))
	}
	return list
}

func (o *oldConfig) classesNode() *yaml.Node {
	m := newNodes()
	for _, c := range o.classes {
		m.add(c.name, intNode(int(c.dscp)))
	}
	m.n.Style = yaml.FlowStyle
	return &m.n
}

func (o *oldConfig) probing() *yaml.Node {
	p := newNodes()
	add := func(key string, value *yaml.Node) { p.add(key, value, o.notes["probing."+key]...) }
	names := listNode()
	for _, c := range o.classes {
		names.Content = append(names.Content, textNode(c.name))
	}
	add("classes", names)
	o.note("probing.ports", "Paths that ECMP has and no port meets are not seen: 32 ports, with an interval as many times as long, meet more of them.")
	add("ports", intNode(o.ports))
	add("interval", timeNode(o.interval))
	add("timeout", timeNode(o.timeout))
	if base().Probing.Timing.Late <= o.timeout {
		add("late", timeNode(2*o.timeout))
	}
	add("window", timeNode(o.window))
	if o.source != "" || len(o.notes["probing.source"]) > 0 {
		add("source", textNode(o.source))
	}
	if len(o.outside()) > 0 {
		o.note("probing.allow", "Addresses that are not private have to be allowed by name.")
		add("allow", o.allowNode())
	}
	target, all := o.rates()
	if target > base().Probing.MaxRatePerTarget {
		add("max_rate_per_target", intNode(target))
	}
	if all > base().Probing.MaxRate {
		o.note("probing.max_rate", "As many as the old collector was asked to send; see that this host can.")
		add("max_rate", intNode(all))
	}
	return &p.n
}

func (o *oldConfig) targetsNode(port uint16) *yaml.Node {
	m := newNodes()
	for _, t := range o.targets {
		one := newNodes()
		if t.name != t.address {
			one.add("address", textNode(t.address))
		}
		if port != DefaultPort {
			one.add("port", intNode(int(port)))
		}
		if len(t.tags) > 0 {
			one.add("tags", tagsNode(t.tags))
		}
		one.n.Style = yaml.FlowStyle
		m.add(t.name, &one.n, t.notes...)
	}
	if len(o.targets) == 0 {
		m.n.Style = yaml.FlowStyle
	}
	return &m.n
}

func (o *oldConfig) apiNode() *yaml.Node {
	a := newNodes()
	a.add("listen", textNode(o.api), "Requests by a name of this host that is not host.name have to be allowed under hosts.")
	return &a.n
}
