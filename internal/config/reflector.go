package config

import "net/netip"

func (d *decoder) reflectorFields(c *Reflector) []field {
	return []field{
		listOf("listen", &c.Listen, parseListen),
		scalar("device", &c.Device, parseDevice),
		allowed("allow", &c.Allow),
		listOf("peers", &c.Peers, parsePrefix),
		scalar("rate_peers", &c.RatePeers, integer(1, maxRate)),
		scalar("rate_strangers", &c.RateStrangers, integer(1, maxRate)),
		scalar("twamp_light", &c.TWAMPLight, boolean),
		scalar("allow_862", &c.Allow862, boolean),
		scalar("legacy", &c.Legacy, boolean),
		listOf("refuse_ports", &c.RefusePorts, parsePort),
		scalar("location", &c.Location, boolean),
		scalar("timestamps", &c.Timestamps, oneOfWords(TimestampsNTP, TimestampsPTP)),
		scalar("workers", &c.Workers, integer(0, 1024)),
		field{key: "keys", read: d.readKeys, each: ".NAME", sub: d.keyFields(new([]byte))},
		field{key: "auth", read: d.readAuth, each: "[]", sub: d.authFields(new(AuthRule))},
	}
}

// keyFields is one key for HMAC-SHA-256.
func (d *decoder) keyFields(dst *[]byte) []field {
	return []field{
		inline("hex", dst, parseKey),
		scalar("file", dst, fromFile(d, ReadKey)),
	}
}

func (d *decoder) readKeys(v value) {
	for _, p := range v.pairs() {
		if err := checkText(p.key); err != nil {
			d.put(p.at, p.path, "the key's name "+err.Error())
		}
		var key []byte
		p.section(d.keyFields(&key))
		p.oneOf("hex", "file")
		if !p.sets("hex") && !p.sets("file") {
			p.problem("is no key: write {file: PATH} or {hex: DIGITS}")
		}
		d.keys[p.key] = key
	}
}

// keyRef is the two ways to name a key: by its name in reflector.keys, found
// once the whole file is read, and by its file.
func (d *decoder) keyRef(dst *[]byte) []field {
	return []field{
		{key: "key", read: func(v value) {
			name, ok := v.scalar()
			if !ok {
				return
			}
			d.later = append(d.later, func() {
				key, ok := d.keys[name]
				if !ok {
					v.problem("%s", unknown("key "+show(name), name, sortedKeys(d.keys))+" (reflector.keys)")
				}
				*dst = key
			})
		}},
		scalar("key_file", dst, fromFile(d, ReadKey)),
	}
}

func (d *decoder) authFields(r *AuthRule) []field {
	return append([]field{
		scalar("prefix", &r.Prefix, parsePrefix),
		scalar("ssid", &r.SSID, integer[uint16](0, 65535)),
	}, d.keyRef(&r.Key)...)
}

func (d *decoder) readAuth(v value) {
	items := v.list()
	rules := make([]AuthRule, len(items)) // not appended to: what is found later points into it
	type match struct {
		prefix netip.Prefix
		ssid   uint16
	}
	first := map[match]int{}
	for i, item := range items {
		r := &rules[i]
		item.section(d.authFields(r))
		item.oneOf("key", "key_file")
		if !item.sets("key") && !item.sets("key_file") {
			item.problem("has no key: set key or key_file")
		}
		m := match{r.Prefix, r.SSID}
		switch line, again := first[m]; {
		case d.bad[item.under("prefix")] || d.bad[item.under("ssid")]:
		case m == match{}:
			item.problem("matches nothing: set prefix (0.0.0.0/0 and ::/0 are all) or ssid")
		case again:
			item.problem("matches what line %d matches already: remove one", line)
		default:
			first[m] = item.at.Line
		}
	}
	d.cfg.Reflector.Auth = rules
}
