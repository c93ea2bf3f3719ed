//go:build linux

package lab

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ErrUnsupported says that this kernel's nftables lacks what a fault needs.
var ErrUnsupported = errors.New("not supported by this kernel")

// A packet passes the kinds of faults in this order of their hook priorities: drops and refusals see it
// as it came, a duplicate is of the rewritten packet, and Count sees what is left. Within a kind the
// fault's number is added: the one that was added first acts first.
const (
	priorityDrop      = 1_000_000
	priorityRewrite   = 2_000_000
	priorityDuplicate = 3_000_000
	priorityCount     = 4_000_000
)

const (
	chainName   = "forward"
	counterName = "hits"
)

// Fault is one rule in the fabric, with its counter in the kernel. Each has tables of its own, so that
// one can go without touching the others.
type Fault struct {
	fabric  *Fabric
	what    string
	chains  []*nftables.Chain
	removed bool   // under fabric.mu, as the two below
	packets uint64 // final, once removed
	octets  uint64
}

// Drop discards the packets that the rule chooses.
func (f *Fabric) Drop(r Rule) (*Fault, error) {
	return f.add("drop", r, priorityDrop, func(nftables.TableFamily) []expr.Any {
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	})
}

// Count only counts: the truth of what the fabric forwards, after drops and rewriting.
// (A rate limit drops later, and copies made by Duplicate do not pass here.)
func (f *Fabric) Count(r Rule) (*Fault, error) {
	return f.add("count", r, priorityCount, func(nftables.TableFamily) []expr.Any { return nil })
}

// Rewrite sets the DSCP of the packets that the rule chooses.
func (f *Fabric) Rewrite(r Rule, dscp uint8) (*Fault, error) {
	if dscp > 63 {
		return nil, fmt.Errorf("add rewrite fault: dscp %d is above 63", dscp)
	}
	return f.add("rewrite", r, priorityRewrite, func(family nftables.TableFamily) []expr.Any {
		return writeDSCP(family, dscp)
	})
}

// Duplicate sends a copy of the packets that the rule chooses; Rule.To is needed. The copy goes out
// before the original. The error is ErrUnsupported where the kernel has no dup expression.
func (f *Fabric) Duplicate(r Rule) (*Fault, error) {
	if r.To == nil {
		return nil, fmt.Errorf("add duplicate fault: a rule without a destination host")
	}
	index, err := f.portIndex(r.To)
	if err != nil {
		return nil, fmt.Errorf("add duplicate fault: %w", err)
	}
	if r.Family == Both && !r.To.IPv6.IsValid() {
		r.Family = V4
	}
	return f.add("duplicate", r, priorityDuplicate, func(family nftables.TableFamily) []expr.Any {
		return []expr.Any{
			&expr.Immediate{Register: 1, Data: r.To.Addr(family == nftables.TableFamilyIPv6).AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.NativeEndian.PutUint32(uint32(index))},
			&expr.Dup{RegAddr: 1, RegDev: 2, IsRegDevSet: true},
		}
	})
}

// Unreachable is what a refusal says, for both families.
type Unreachable struct{ v4, v6 uint8 }

// The ICMP (type 3) and ICMPv6 (type 1) codes that Reject can send.
var (
	NoRoute         = Unreachable{0, 0}  // network unreachable, no route to destination
	HostUnreachable = Unreachable{1, 3}  // host unreachable, address unreachable
	PortUnreachable = Unreachable{3, 4}  // port unreachable
	AdminProhibited = Unreachable{13, 1} // communication administratively prohibited
)

// Reject discards the packets that the rule chooses and answers them with an ICMP error.
func (f *Fabric) Reject(r Rule, why Unreachable) (*Fault, error) {
	return f.add("reject", r, priorityDrop, func(family nftables.TableFamily) []expr.Any {
		code := why.v4
		if family == nftables.TableFamilyIPv6 {
			code = why.v6
		}
		return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code}}
	})
}

func (f *Fabric) add(what string, r Rule, priority int, action func(nftables.TableFamily) []expr.Any) (*Fault, error) {
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("add %s fault: %w", what, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	conn, err := f.nft()
	if err != nil {
		return nil, err
	}
	f.nextID++
	fault := &Fault{fabric: f, what: what}
	for _, family := range r.families() {
		match, err := r.match(f, family)
		if err != nil {
			return nil, fmt.Errorf("add %s fault: %w", what, err)
		}
		table := conn.AddTable(&nftables.Table{Family: family, Name: fmt.Sprintf("lab-%d-%s", f.nextID, what)})
		conn.AddObj(&nftables.NamedObj{Table: table, Name: counterName, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}})
		chain := conn.AddChain(&nftables.Chain{
			Name: chainName, Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(priority + f.nextID)),
		})
		exprs := append(match, &expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: counterName})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(exprs, action(family)...)})
		fault.chains = append(fault.chains, chain)
	}
	if err := conn.Flush(); err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
			err = errors.Join(ErrUnsupported, err)
		}
		return nil, fmt.Errorf("add %s fault: %w", what, err)
	}
	f.faults[fault] = struct{}{}
	return fault, nil
}

// nft opens a connection for one batch: an error would stick to one that lasts.
func (f *Fabric) nft() (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(int(f.ns.fd)))
	if err != nil {
		return nil, fmt.Errorf("open nftables in fabric: %w", err)
	}
	return conn, nil
}

// Count returns how many packets the rule has taken, and their octets from the IP header on: exactly,
// from the kernel's counter. After Remove it returns the final figures.
func (ft *Fault) Count() (packets, octets uint64, err error) {
	ft.fabric.mu.Lock()
	defer ft.fabric.mu.Unlock()
	if ft.removed {
		return ft.packets, ft.octets, nil
	}
	return ft.read()
}

func (ft *Fault) read() (packets, octets uint64, err error) {
	conn, err := ft.fabric.nft()
	if err != nil {
		return 0, 0, err
	}
	for _, c := range ft.chains {
		obj, err := conn.GetObject(&nftables.NamedObj{Table: c.Table, Name: counterName, Type: nftables.ObjTypeCounter})
		if err != nil {
			return 0, 0, fmt.Errorf("read counter of %s fault: %w", ft.what, err)
		}
		named, _ := obj.(*nftables.NamedObj)
		if named == nil {
			return 0, 0, fmt.Errorf("read counter of %s fault: got a %T", ft.what, obj)
		}
		counter, ok := named.Obj.(*expr.Counter)
		if !ok {
			return 0, 0, fmt.Errorf("read counter of %s fault: got a %T", ft.what, named.Obj)
		}
		packets += counter.Packets
		octets += counter.Bytes
	}
	return packets, octets, nil
}

// Remove takes the rule away. The chain goes first, so that the figures that Count returns from then on
// are final. It may be called again.
func (ft *Fault) Remove() error {
	ft.fabric.mu.Lock()
	defer ft.fabric.mu.Unlock()
	return ft.remove()
}

func (ft *Fault) remove() error {
	if ft.removed {
		return nil
	}
	conn, err := ft.fabric.nft()
	if err != nil {
		return err
	}
	for _, c := range ft.chains {
		conn.DelChain(c)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("remove %s fault: %w", ft.what, err)
	}
	packets, octets, readErr := ft.read()
	for _, c := range ft.chains {
		conn.DelTable(c.Table)
	}
	if err := errors.Join(readErr, conn.Flush()); err != nil {
		return fmt.Errorf("remove %s fault: %w", ft.what, err)
	}
	ft.packets, ft.octets, ft.removed = packets, octets, true
	delete(ft.fabric.faults, ft)
	return nil
}

// Heal removes every fault that is still there (rate limits and links have their own undoing).
func (f *Fabric) Heal() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for ft := range f.faults {
		errs = append(errs, ft.remove())
	}
	return errors.Join(errs...)
}

func (f *Fabric) probeNftables() error {
	_, err := f.Drop(Rule{From: f.lab.Host(1), DSCP: DSCP(1), Ratio: 0.5})
	return err
}

func (f *Fabric) probeDup() error {
	_, err := f.Duplicate(Rule{To: f.lab.Host(1)})
	return err
}
