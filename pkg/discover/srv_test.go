package discover

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

const service = "_llama._udp.example.net"

// serveDNS runs a name server that knows these records of the service, until stop is called.
func serveDNS(t *testing.T, address string, records ...string) (stop func()) {
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	args := []string{"--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--user=", "--no-resolv", "--no-hosts", "--bind-interfaces",
		"--listen-address=127.0.0.1", "--port=" + port, "--local=/example.net/"}
	for _, r := range records {
		args = append(args, "--srv-host="+service+r)
	}
	server := exec.Command("dnsmasq", args...)
	require.NoError(t, server.Start())
	stop = func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}
	t.Cleanup(stop)
	eventually(t, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, "dnsmasq")
	return stop
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// A list in DNS is what its records say, however many they are; whatever goes wrong leaves it.
func TestListOfDNS(t *testing.T) {
	if _, err := exec.LookPath("dnsmasq"); err != nil {
		t.Skip("needs dnsmasq")
	}
	address := freeAddress(t)
	l, changes := newLists(t, Options{Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}})
	stop := serveDNS(t, address, ",B.example.net,862", ",a.example.net,8620", ",b.example.net,862", ",two.example.net,1", ",two.example.net,2", "")
	const name = service + "."
	l.Use("", []Source{{Name: name, Interval: 50 * time.Millisecond}})
	eventually(t, func() bool { return changes.Load() == 1 }, "the records")
	require.JSONEq(t, `{"a.example.net": {"address": "a.example.net.", "port": 8620}, "b.example.net": {"address": "b.example.net.", "port": 862},
		"two.example.net:1": {"address": "two.example.net.", "port": 1}, "two.example.net:2": {"address": "two.example.net.", "port": 2}}`, string(l.Contents("", name)))

	stop()
	eventually(t, func() bool { return l.fault(name) != "" }, "the server is gone")
	stop = serveDNS(t, address)
	eventually(t, func() bool {
		return strings.HasPrefix(l.fault(name), "look up SRV: ") && strings.Contains(l.fault(name), "no such host")
	}, "no such name")
	require.Contains(t, string(l.Contents("", name)), "two.example.net:1", "a failure takes nothing away")
	require.EqualValues(t, 1, changes.Load())

	stop()
	var many []string
	for i := range 200 { // more than fit a datagram
		many = append(many, fmt.Sprintf(",host%d.example.net,862", i))
	}
	serveDNS(t, address, many...)
	eventually(t, func() bool { return changes.Load() == 2 }, "other records")
	var targets map[string]any
	require.NoError(t, json.Unmarshal(l.Contents("", name), &targets))
	require.Len(t, targets, 200)
	require.Contains(t, targets, "host199.example.net")
}
