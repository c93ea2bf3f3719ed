//go:build linux

package hostinfo

import (
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// stack builds br0 with port p0, and mv0 on the lab's eth0.
func stack(t testing.TB) *lab.Host {
	h := lab.ForTest(t, 1).Host(1)
	bridge := add(t, h, &netlink.Bridge{LinkAttrs: linkNamed("br0")})
	port := netlink.NewVeth(linkNamed("p0"))
	port.PeerName, port.NumRxQueues, port.NumTxQueues, port.MTU = "p1", 3, 2, 9000
	made := add(t, h, port)
	require.NoError(t, h.Do(func() error { return netlink.LinkSetMaster(made, bridge) }))
	eth0 := link(t, h, "eth0")
	attrs := linkNamed("mv0")
	attrs.ParentIndex = eth0.Attrs().Index
	add(t, h, &netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE})
	return h
}

func link(t testing.TB, h *lab.Host, name string) (l netlink.Link) {
	t.Helper()
	require.NoError(t, h.Do(func() (err error) {
		l, err = netlink.LinkByName(name)
		return err
	}))
	return l
}

var stackNames = []string{"lo", "eth0", "br0", "p0", "p1", "mv0"}

func TestInterfaceKinds(t *testing.T) {
	got := readIn(t, stack(t), nil, stackNames...)
	kinds := map[string]string{}
	for name, i := range got {
		require.Equal(t, name, i.Name)
		kinds[name] = i.Kind
	}
	require.Equal(t, map[string]string{"lo": "lo", "eth0": "veth", "br0": "bridge", "p0": "veth", "p1": "veth", "mv0": "macvlan"}, kinds)

	p0 := got["p0"]
	require.Equal(t, 9000, p0.MTU)
	require.False(t, p0.Up)
	require.False(t, p0.Carrier)
	require.Empty(t, p0.Programs)
	require.Nil(t, p0.Moderation, "a veth has no interrupts")
	eth0 := got["eth0"]
	require.Equal(t, 1500, eth0.MTU)
	require.True(t, eth0.Up)
	require.True(t, eth0.Carrier)
}

// TestInterfaceRelatives holds our view, from netlink, against the kernel's own, in a sysfs of the namespace.
func TestInterfaceRelatives(t *testing.T) {
	h := stack(t)
	dir := t.TempDir()
	require.NoError(t, h.Do(func() error { return unix.Mount("sysfs", dir, "sysfs", unix.MS_RDONLY, "") }))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	for name, i := range readIn(t, h, nil, stackNames...) {
		for prefix, have := range map[string][]Relative{"upper_": i.Uppers, "lower_": i.Lowers} {
			paths, err := filepath.Glob(filepath.Join(dir, "class/net", name, prefix+"*"))
			require.NoError(t, err)
			var want, got []string
			for _, p := range paths {
				want = append(want, strings.TrimPrefix(filepath.Base(p), prefix))
			}
			for _, r := range have {
				got = append(got, r.Name)
			}
			sort.Strings(got)
			require.Equal(t, want, got, "%s of %s", prefix, name)
		}
	}
	got := readIn(t, h, nil, "br0", "mv0")
	require.Equal(t, []Relative{{Name: "p0", Index: link(t, h, "p0").Attrs().Index, Kind: "veth"}}, got["br0"].Lowers)
	require.Equal(t, []Relative{{Name: "eth0", Index: link(t, h, "eth0").Attrs().Index, Kind: "veth"}}, got["mv0"].Lowers)
}

func TestInterfaceThatDoesNotExist(t *testing.T) {
	r, err := Open()
	require.NoError(t, err)
	defer r.Close()
	for _, name := range []string{"no-such-if", "", "a-name-too-long-for-any-interface", "eth0/..", strings.Repeat("x", 300)} {
		_, err := r.Interface(name)
		require.ErrorIs(t, err, ErrNoInterface, "%q", name)
		require.NotContains(t, err.Error(), "\n")
	}
	_, err = r.Interface("no-such-if")
	require.EqualError(t, err, `interface "no-such-if": there is no such interface`)
}

// TestInterfaceByAlternativeName answers with the name that everything else uses.
func TestInterfaceByAlternativeName(t *testing.T) {
	h := stack(t)
	tool(t, h, "ip", "link", "property", "add", "dev", "br0", "altname", "the-bridge-by-a-name-above-fifteen")
	const name = "the-bridge-by-a-name-above-fifteen"
	require.Equal(t, "br0", readIn(t, h, nil, name)[name].Name)
	require.NoError(t, h.Do(func() error {
		r, err := Open()
		require.NoError(t, err)
		defer r.Close()
		require.Equal(t, []Chosen{{"p0", "under br0"}}, r.Below(name))
		return nil
	}))
}

// TestXDPFeatures: a veth runs XDP itself, a bridge does not, and both are known where the kernel has the family.
func TestXDPFeatures(t *testing.T) {
	if findFamily("netdev") == nil {
		missing(t, "generic netlink family netdev (Linux 6.3)", os.ErrNotExist)
	}
	got := readIn(t, stack(t), nil, stackNames...)
	for name, native := range map[string]bool{"eth0": true, "p0": true, "br0": false, "mv0": false, "lo": false} {
		require.NotNil(t, got[name].XDP, name)
		require.Equal(t, native, got[name].XDP.Native(), name)
	}
	require.True(t, got["eth0"].XDP.MultiBuffer())
	if metadata := got["eth0"].XDP.RxMetadata; metadata != nil { // Linux 6.6
		require.Contains(t, metadata, "hash")
	}
}
