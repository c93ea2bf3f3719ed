package hostinfo

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// FilteredByRoute asks the kernel which of the far addresses it would not hear by the interface for what
// net.ipv4.conf.*.rp_filter says: their packets are dropped there (ip route get OWN from FAR iif NAME).
// IPv6 has no such setting.
//
// The refusal is EXDEV, on newer kernels (tried: 6.18) EINVAL, which says other things too where nothing is filtered.
func FilteredByRoute(name string, far []netip.Addr) (out []netip.Addr) {
	if !strict("all") && !strict(name) { // the kernel takes the greater one; 2 only asks for any route back
		return nil
	}
	for _, a := range far {
		a = a.Unmap()
		if !a.Is4() {
			continue
		}
		there, err := netlink.RouteGet(a.AsSlice())
		if err != nil || len(there) == 0 || there[0].Src == nil || there[0].Type == unix.RTN_LOCAL {
			continue // no way there: that is said elsewhere
		}
		_, err = netlink.RouteGetWithOptions(there[0].Src, &netlink.RouteGetOptions{Iif: name, SrcAddr: a.AsSlice()})
		if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EINVAL) {
			out = append(out, a)
		}
	}
	return out
}

func strict(name string) bool { return readLine("/proc/sys/net/ipv4/conf/"+name+"/rp_filter") == "1" }
