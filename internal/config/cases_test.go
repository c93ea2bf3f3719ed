package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no unit":         {"probing: {interval: 5}", "1:21: probing.interval: 5 has no unit: write 5s or 5ms"},
		"space":           {"probing: {interval: 1 s}", `1:21: probing.interval: "1 s" has a space: write 1s`},
		"negative":        {"probing: {interval: -1s}", "1:21: probing.interval: -1s is not above zero: from 1ms to 1h"},
		"zero":            {"probing: {interval: 0s}", "1:21: probing.interval: 0s is not above zero: from 1ms to 1h"},
		"bare zero":       {"probing: {interval: 0}", "1:21: probing.interval: 0 has no unit: write 0s or 0ms"},
		"below minimum":   {"probing: {interval: 999us}", "1:21: probing.interval: 999us is not from 1ms to 1h"},
		"no duration":     {"probing: {interval: .inf}", `1:21: probing.interval: ".inf" is not a duration: write a number and its unit, as 500ms, 10s or 1m`},
		"short window":    {"probing: {window: 500ms}", "1:19: probing.window: 500ms is not from 1s to 24h"},
		"late is timeout": {"probing: {late: 500ms}", "1:17: probing.late: late (500ms) must be longer than timeout (500ms)"},
		"no follow-up":    {"probing: {timeout: 3s, late: 4}", "1:30: probing.late: 4 has no unit: write 4s or 4ms"},
		"octal":           {"probing: {ports: 010}", `1:18: probing.ports: "010" is not a whole number from 1 to 64512`},
		"huge number":     {"probing: {ports: 99999999999999999999}", "1:18: probing.ports: 99999999999999999999 is not from 1 to 64512"},
		"no value":        {"probing:\n  ports:\n", "2:3: probing.ports: has no value"},
		"list for value":  {"probing: {ports: [1]}", "1:11: probing.ports: a single value is expected here, not a list"},
		"value for list":  {"reflector: {allow: any}", "1:20: reflector.allow: a list, as [a, b], is expected here, not a single value"},
		"value for map":   {"targets: 5", "1:10: targets: a map, as {key: value}, is expected here, not a single value"},
		"list as root":    {"- a", "1:1: a map, as {key: value}, is expected here, not a list"},
		"map as key":      {"{{a: b}: c}", "1:2: a key is a single word here, not a map"},
		"yaml tag":        {"api: {listen: !!str ''}", `1:15: api.listen: the YAML tag "!!str" is not used here: remove it`},
		"merge key":       {"a: &a {}\ntargets: {<<: *a}", "1:1: a: unknown key; known here: host, datapath, reflector, classes, probing, targets, targets_from, sinks, watch, spool, scrape, api\ntest.yaml:2:11: targets.<<: merge keys are not supported: write the values out"},
		"backwards":       {"probing: {source_ports: 30000-20000}", "1:25: probing.source_ports: 30000-20000 ends before it begins: write 20000-30000"},
		"one port":        {"probing: {source_ports: 30000}", `1:25: probing.source_ports: "30000" is not a range of ports: write the first and the last, as 20000-24095`},
		"below 1024":      {"probing: {source_ports: 1023-2000}", "1:25: probing.source_ports: 1023-2000 begins below 1024, and reflectors refuse such source ports"},
		"8100":            {"probing: {source_ports: 8000-8100}", "1:25: probing.source_ports: 8000-8100 contains 8100, which reflectors refuse as a source port"},
		"reflector port":  {"reflector: {listen: [':20000']}", "1:13: reflector.listen: 20000-24095 contains the reflector's port 20000, which no probe may leave from"},
		"too many ports":  {"probing: {ports: 33, source_ports: 20000-20031}", "1:18: probing.ports: 33 ports, and source_ports 20000-20031 has 32"},
		"no ssid":         {"probing: {classes: [be, ef], source_ports: 20000-20062}\ntargets: {a: {ssid: false}}", "2:21: targets.a.ssid: without SSID each class takes ports of its own: 32 ports x 2 classes = 64, and source_ports 20000-20062 has 63"},
		"max_rate":        {"probing: {interval: 100ms, max_rate: 500, max_rate_per_target: 320}\ntargets: {a: , b: }", "1:38: probing.max_rate: all targets with 64 flows, a probe every 100ms each: 640 probes/s, above max_rate: 500; what would fit: interval: 128ms, or ports: 25, or max_rate: 640"},
		"family both":     {"probing: {family: both, max_rate: 32}\ntargets: {a: }", "1:35: probing.max_rate: all targets with 64 flows, a probe every 1s each: 64 probes/s, above max_rate: 32; what would fit: interval: 2s, or ports: 16, or max_rate: 64"},
		"paths no count":  {"probing: {paths: [{tags: {a: b}}]}", "1:19: probing.paths[0]: has no count: how many equal paths there are"},
		"paths zero":      {"probing: {paths: [{count: 0}]}", "1:27: probing.paths[0].count: 0 is not from 1 to 1000000"},
		"paths unknown":   {"probing: {paths: [{counts: 5}]}", "1:19: probing.paths[0]: has no count: how many equal paths there are\ntest.yaml:1:20: probing.paths[0].counts: unknown key; did you mean count?"},
		"target's paths":  {"targets: {a: {paths: many}}", `1:22: targets.a.paths: "many" is not a whole number from 0 to 1000000`},
		"slow below 1":    {"probing: {flow_slow: 0.9}", "1:22: probing.flow_slow: 0.9 is below 1: write 0 for no slow flows, or 1 to 1000"},
		"no flow lines":   {"probing: {max_flow_lines: 0}", "1:27: probing.max_flow_lines: 0 is not from 1 to 1000000"},
		"clock error":     {"host: {clock_error: 11s}", "1:21: host.clock_error: 11s is not from 1ns to 10s"},
		"device":          {"probing: {device: a-very-long-name}", `1:19: probing.device: "a-very-long-name" is not the name of an interface`},
		"device slash":    {"reflector: {device: a/b}", `1:21: reflector.device: "a/b" is not the name of an interface`},
		"device space":    {"probing: {device: 'eth 1'}", `1:19: probing.device: "eth 1" is not the name of an interface`},
		"one-way":         {"probing: {one_way: yes}", `1:20: probing.one_way: "yes" is neither true nor false`},
		"rotate text":     {"probing: {rotate: 10%}", `1:19: probing.rotate: "10%" is not a number from 0 to 1`},
		"rotate above":    {"probing: {rotate: 1.5}", "1:19: probing.rotate: 1.5 is not from 0 to 1"},
		"rotate inf":      {"probing: {rotate: .inf}", `1:19: probing.rotate: ".inf" is not a number from 0 to 1`},
		"rotate octal":    {"probing: {rotate: 00.5}", `1:19: probing.rotate: "00.5" is not a number from 0 to 1`},
		"rotate nowhere":  {"probing: {rotate: 0.5, source_ports: 20000-20031}", "1:19: probing.rotate: no port to rotate to: source_ports 20000-20031 has 32, and all are in use"},
		"emit":            {"probing: {emit: frames}", `1:17: probing.emit: "frames" is none of socket, packet`},
		"size below":      {"probing: {sizes: [63]}", "1:19: probing.sizes[0]: 63 is not from 64 to 65535"},
		"size twice":      {"probing: {sizes: [64, 64]}", "1:23: probing.sizes[1]: given twice, first in line 1: remove one"},
		"size as text":    {"probing: {sizes: [mtu]}", `1:19: probing.sizes[0]: "mtu" is not a whole number from 64 to 65535`},
		"one size":        {"probing: {sizes: 1500}", "1:18: probing.sizes: a list, as [a, b], is expected here, not a single value"},
		"no be":           {"classes: {gold: 34}", "1:1: classes: lacks be, which is probed by default: add be: 0, or set probing.classes"},
		"no class":        {"probing: {classes: []}", "1:11: probing.classes: names no class: write [be]"},
		"two sources":     {"probing: {source: [10.0.0.1, 10.0.0.2]}", "1:11: probing.source: two sources of one family: at most one IPv4 and one IPv6 address"},
		"same name":       {"targets: {A.example: , b: {address: a.example.}}", `1:37: targets.b.address: "a.example." port 862 is the target "A.example" already: remove one`},
		"target twice":    {"targets: {a: {port: 5}, a: {port: 6}}", "1:25: targets.a: given twice, first in line 1: remove one"},
		"digits":          {"targets: {a: {address: 10.0.0.256}}", `1:24: targets.a.address: "10.0.0.256" is neither an IP address nor the name of a host`},
		"any address":     {"targets: {a: {address: '::'}}", "1:24: targets.a.address: :: is not the address of one host"},
		"tag twice":       {"targets: {a: {rack: 1, tags: {rack: 2}}}", "1:31: targets.a.tags.rack: given both beside and in tags: remove one"},
		"line break":      {"targets: {a: {rack: \"x\\ny\"}}", `1:21: targets.a.rack: "x\ny" holds a control character`},
		"backslash":       {"targets: {a: {rack: 'x\\'}}", `1:21: targets.a.rack: "x\\" ends with a backslash, which the line protocol cannot write`},
		"own tag":         {"host: {tags: {addr: x}}", "1:15: host.tags.addr: collides with the tags src_addr and dst_addr of llama_flow: name it otherwise"},
		"two keys":        {"reflector: {keys: {k: {hex: 000102030405060708090a0b0c0d0e0f}}}\ntargets: {a: {key: k, key_file: none}}", "2:33: targets.a.key_file: \"none\": no such file or directory\ntest.yaml:2:33: targets.a.key_file: given beside key: only one of them"},
		"url password":    {"sinks: [{influx: {url: 'http://u:p@h', database: d}}]", "1:24: sinks[0].influx.url: holds a user: write username and password"},
		"precision":       {"sinks: [{influx: {url: 'http://h/write?precision=s', database: d}}]", "1:24: sinks[0].influx.url: \"http://h/write?precision=s\" has a query or a fragment: write the base, as http://127.0.0.1:8086"},
		"no URL":          {"sinks: [{influx: {url: 'http://', database: d}}]", "1:24: sinks[0].influx.url: is not a URL as http://127.0.0.1:8086"},
		"database name":   {"sinks: [{influx: {url: 'http://h', database: \"a\\nb\"}}]", "1:46: sinks[0].influx.database: \"a\\nb\" holds a control character"},
		"no database":     {"sinks: [{influx: {url: 'http://h', database: ''}}]", "1:46: sinks[0].influx.database: is empty"},
		"tag of 10 kB":    {"targets: {a: {rack: " + strings.Repeat("r", 10_000) + "}}", "1:21: targets.a.rack: is longer than 256 octets"},
		"empty tag":       {"targets: {a: {rack: ''}}", "1:21: targets.a.rack: is empty: the line protocol has no empty tags"},
		"tag of spaces":   {"targets: {a: {rack: '  '}}", "1:21: targets.a.rack: is empty: the line protocol has no empty tags"},
		"mixed versions":  {"sinks: [{influx: {url: 'http://h', database: d, org: o}}]", "1:10: sinks[0].influx: mixes database (InfluxDB 1) with org, bucket and token (InfluxDB 2): one of the two"},
		"two tokens":      {"sinks: [{influx: {url: 'http://h', bucket: b, token: a, token_env: PATH}}]", "1:68: sinks[0].influx.token_env: given beside token: only one of them"},
		"no variable":     {"sinks: [{influx: {url: 'http://h', bucket: b, token_env: LLAMA_NOT_SET}}]", "1:58: sinks[0].influx.token_env: \"LLAMA_NOT_SET\" is not set in the agent's environment"},
		"any, no token":   {"api: {probe_any: true}", "1:18: api.probe_any: true needs a token, or whoever reaches the API could aim probes: set token_file or token_env"},
		"api token clear": {"api: {token: 0123456789abcdef}", "1:7: api.token: unknown key; known here: listen, hosts, token_file, token_env, probe_any"},
		"no api variable": {"api: {probe_any: true, token_env: LLAMA_NOT_SET}", "1:35: api.token_env: \"LLAMA_NOT_SET\" is not set in the agent's environment"},
		"no api token":    {"api: {token_env: PATH}", "1:18: api.token_env: what \"PATH\" holds is not 16 or more of A-Z, a-z, 0-9 and -._~+/, as `openssl rand -hex 32` gives them"},
		"two api tokens":  {"api: {token_file: none, token_env: LLAMA_NOT_SET}", "1:19: api.token_file: \"none\": no such file or directory\ntest.yaml:1:36: api.token_env: \"LLAMA_NOT_SET\" is not set in the agent's environment\ntest.yaml:1:36: api.token_env: given beside token_file: only one of them"},
		"half a client":   {"sinks: [{influx: {url: 'http://h', database: d, cert_file: c.pem}}]", "1:10: sinks[0].influx: cert_file and key_file go together"},
		"policy of 2":     {"sinks: [{influx: {url: 'http://h', bucket: b, retention_policy: r}}]", "1:10: sinks[0].influx: retention_policy is for database (InfluxDB 1): a bucket has its own"},
		"size by number":  {"spool: {max_size: 1000000}", "1:19: spool.max_size: \"1000000\" is not a whole number with its unit, as 512KiB, 64MiB or 1GiB, from 1MiB to 1024GiB"},
		"size too small":  {"spool: {max_size: 512KiB}", "1:19: spool.max_size: \"512KiB\" is not a whole number with its unit, as 512KiB, 64MiB or 1GiB, from 1MiB to 1024GiB"},
		"half a login":    {"sinks: [{influx: {url: 'http://h', database: d, username: u}}]", "1:10: sinks[0].influx: username and password go together"},
		"no listener":     {"sinks: [{socket: {}}]", "1:10: sinks[0].socket: has no address"},
		"listener":        {"sinks: [{socket: {address: 'tcp://h'}}]", "1:28: sinks[0].socket.address: is not an address as tcp://127.0.0.1:8094, udp://127.0.0.1:8094, unix:///run/telegraf.sock or unixgram:///run/telegraf.sock"},
		"listener's port": {"sinks: [{socket: {address: 'udp://h:0'}}]", "1:28: sinks[0].socket.address: port 0 is not from 1 to 65535"},
		"listener twice":  {"sinks: [{socket: {address: 'unix:///run/t'}}, {socket: {address: 'unix:///run/t'}}]", "1:48: sinks[1].socket: writes to the same as the sink in line 1: remove one"},
		"syntax":          {"a: b\nc: [\n", "2: not YAML: did not find expected node content"},
		"tab":             {"host:\n\tname: x\n", "2: not YAML: found character that cannot start any token"},
		"anchor":          {"a: b\nc: *d\n", "2: not YAML: unknown anchor 'd' referenced"},
		"two documents":   {"api: {}\n---\napi: {}\n", "2:1: a second YAML document begins: a configuration is one"},
		"not UTF-8":       {"a:\n  \xff", "2:3: octet 0xff is not UTF-8"},
		"control":         {"a: \x01", "1:4: control character 0x01"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseText(t, c.text)
			require.EqualError(t, err, "test.yaml:"+c.want)
		})
	}
}

func TestHugeFileIsRefused(t *testing.T) {
	_, err := parseText(t, strings.Repeat("#", maxFile+1))
	require.EqualError(t, err, "test.yaml: larger than 16 MiB")

	_, err = parseText(t, "probing: {classes: ["+strings.Repeat("a,", maxValues)+"]}")
	require.EqualError(t, err, "test.yaml: more than 1000000 keys and values")
}

func TestAliases(t *testing.T) {
	c, err := parseText(t, "host: {tags: &tags {rack: a}}\ntargets: {a: *tags, b: *tags}")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"rack": "a"}, c.Targets[1].Tags)

	// A bomb: 3,000 targets of 1,000 tags each, from 50 KB.
	var b strings.Builder
	b.WriteString("host: {tags: &tags {")
	for i := range 1000 {
		fmt.Fprintf(&b, "t%d: 1, ", i)
	}
	b.WriteString("}}\nprobing: {ports: 1}\ntargets:\n")
	for i := range 3000 {
		fmt.Fprintf(&b, "  h%d: *tags\n", i)
	}
	_, err = parseText(t, b.String())
	require.ErrorContains(t, err, "aliases add more than 200000 values")
	var all Errors
	require.ErrorAs(t, err, &all)
	require.Len(t, all, 1)
}

func TestProblemsAreBounded(t *testing.T) {
	_, err := parseText(t, "host: ["+strings.Repeat("a,", 10)+"]\nprobing: {classes: ["+strings.Repeat("be,", 5000)+"]}")
	var all Errors
	require.ErrorAs(t, err, &all)
	require.Len(t, all, maxProblems+1)
	require.Equal(t, "and 4000 more", all[maxProblems].Text)
}

func TestHostNameOfTheSystem(t *testing.T) {
	e := env{hostname: func() (string, error) { return "", errors.New("no name") }}
	_, err := parse("f", nil, e)
	require.EqualError(t, err, "f: host.name: not given, and the system's is not usable: no name")
	c, err := parse("f", []byte("host: {name: x}"), e)
	require.NoError(t, err)
	require.Equal(t, "x", c.Host.Name)
}

func TestWarnings(t *testing.T) {
	e := testEnv()
	e.ephemeral = PortRange{22000, 60999}
	e.connected = prefixes("198.51.100.0/24")
	for name, c := range map[string]struct{ text, want string }{
		"ephemeral, by default": {"", "f: probing.source_ports: 20000-24095 overlaps this host's ephemeral ports 22000-60999: other programs may hold some of them"},
		"ephemeral":             {"probing: {source_ports: 60999-61999}", "f:1:25: probing.source_ports: 60999-61999 overlaps this host's ephemeral ports 22000-60999: other programs may hold some of them"},
		"none":                  {"probing: {source_ports: 10000-21999}", ""},
		"connected":             {"probing: {source_ports: 10000-21999}\ntargets: {a: {address: 198.51.100.1}}", ""},
		"not connected":         {"probing: {source_ports: 10000-21999}\ntargets: {a: {address: 203.0.113.1}}", "f:2:24: targets.a.address: 203.0.113.1 is outside probing.allow, and is probed only while it is directly connected: add its prefix there"},
		"misspelt setting":      {"probing: {source_ports: 10000-21999}\ntargets: {a: {adress: 10.0.0.1}}", "f:2:23: targets.a.adress: is taken as a tag; did you mean address? (under tags it is a tag for sure)"},
		"port of its own":       {"probing: {source_ports: 10000-21999}\ntargets: {a: {port: 10000}}", "f:2:21: targets.a.port: 10000 is one of source_ports 10000-21999: its reflector refuses probes from that port"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse("f", []byte(c.text), e)
			require.NoError(t, err)
			require.Equal(t, c.want, warningsText(got))
		})
	}
}

func TestAllow(t *testing.T) {
	d := defaultAllow()
	require.True(t, d.Connected)
	for _, s := range []string{"10.1.2.3", "172.31.0.1", "192.168.0.1", "fd00::1", "169.254.1.1", "fe80::1%eth0", "127.0.0.9", "::1", "::ffff:10.0.0.1"} {
		require.True(t, d.Contains(netip.MustParseAddr(s)), s)
	}
	for _, s := range []string{"8.8.8.8", "172.32.0.1", "2001:db8::1", "100.64.0.1"} {
		require.False(t, d.Contains(netip.MustParseAddr(s)), s)
	}
	require.False(t, d.Contains(netip.Addr{}))
	require.True(t, Allow{Any: true}.Contains(netip.MustParseAddr("8.8.8.8")))

	c, err := parseText(t, "reflector: {allow: []}\nprobing: {allow: [192.0.2.0/24]}")
	require.NoError(t, err)
	require.Equal(t, d, c.Reflector.Allow)
	require.Equal(t, Allow{Prefixes: prefixes("192.0.2.0/24")}, c.Probing.Allow)
}

func TestSuggestedRatesFit(t *testing.T) {
	p := base().Probing
	for _, flows := range []int{33, 1024, 9999, 64512} {
		for _, rate := range []int{1, 3, 7, 1000, 20000} {
			for _, interval := range []time.Duration{time.Millisecond, 333 * time.Millisecond, time.Second} {
				p.Ports, p.Timing.Interval = flows, interval
				if fits(flows, interval, rate) {
					continue
				}
				text := p.wouldFit("x", "max_rate", flows, rate)
				_, mends, ok := strings.Cut(text, "what would fit: ")
				require.True(t, ok, text)
				for mend := range strings.SplitSeq(mends, ", or ") {
					f, d, r := flows, interval, rate
					key, v, _ := strings.Cut(mend, ": ")
					var err error
					switch key {
					case "interval":
						d, err = time.ParseDuration(v)
					case "ports":
						f, err = integer(1, 64512)(v)
					case "max_rate":
						r, err = integer(1, maxRate)(v)
					default:
						require.Equal(t, "fewer targets", mend)
						continue
					}
					require.NoError(t, err)
					require.True(t, fits(f, d, r), "%s: %s", text, mend)
				}
			}
		}
	}
}

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	good := strings.Repeat("0f", 16)
	key, err := ReadKey(write("good", " "+good+"\n", 0o640))
	require.NoError(t, err)
	require.Equal(t, []byte(strings.Repeat("\x0f", 16)), key)

	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	for path, want := range map[string]string{
		write("open", good, 0o644):                      "is open to all users (mode 0644): chmod 0600 it",
		write("writable", good, 0o602):                  "is open to all users (mode 0602): chmod 0600 it",
		write("empty", "\n", 0o600):                     "is empty",
		write("short", good[2:], 0o600):                 ": the key is not 16 to 256 octets in hexadecimal",
		write("raw", strings.Repeat("z", 32), 0o600):    ": the key is not 16 to 256 octets in hexadecimal",
		write("lines", good+"\n"+good, 0o600):           "holds more than one line",
		write("huge", strings.Repeat("0", 5000), 0o600): "is larger than 4096 octets",
		fifo: "is not a regular file",
		dir:  "is not a regular file",
	} {
		_, err := ReadKey(path)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), good[2:])
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	c, err := parseText(t, "sinks: [{influx: {url: 'http://h', database: d, username: u, password: hunter2}}]")
	require.NoError(t, err)
	require.Equal(t, Secret("hunter2"), c.Sinks[0].Influx.Password)
	for _, text := range []string{c.Sinks[0].Influx.Password.String(), c.Sinks[0].Influx.Password.GoString()} {
		require.Equal(t, "(secret)", text)
	}
}
