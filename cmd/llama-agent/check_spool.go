package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/hostinfo"
)

// checkSpool says whether what cannot be delivered is kept, where, and for how long.
func checkSpool(cfg *config.Config) []finding {
	var sinks int64
	for _, s := range cfg.Sinks {
		if s.Kind == config.KindInflux || s.Kind == config.KindSocket {
			sinks++
		}
	}
	switch {
	case sinks == 0:
		return nil // nothing is pushed: nothing waits
	case cfg.Spool.Path == "":
		return []finding{{Name: "spool", Detail: "none: what is not delivered waits in memory, and a restart loses it", Mend: "set spool.path, as /var/lib/llama-agent/spool"}}
	}
	f, err := hostinfo.ReadFolder(cfg.Spool.Path)
	if err != nil {
		return []finding{{Name: "spool", Detail: fmt.Sprintf("%s cannot be: %v", cfg.Spool.Path, err), Mend: "set spool.path to a folder, as /var/lib/llama-agent/spool"}}
	}
	return spoolFindings(f, sinks, cfg.Spool.MaxBytes, unix.Geteuid())
}

// spoolFindings is one of what is right, or one for each thing that is wrong.
func spoolFindings(f hostinfo.Folder, sinks, most int64, uid int) (out []finding) {
	wrong := func(mend, detail string, args ...any) {
		out = append(out, finding{Name: "spool", Detail: f.Path + " " + fmt.Sprintf(detail, args...), Mend: mend, Data: f})
	}
	switch {
	case f.ReadOnly:
		wrong("set spool.path to a folder that can be written to", "is on what is mounted read-only: nothing is kept there")
	case !f.Writable:
		wrong(fmt.Sprintf("as root: install -d -o %d -m 0750 %s", uid, f.Path), "cannot be written: uid %d may not write to %s", uid, f.On)
	}
	if f.InMemory {
		wrong("set spool.path to a folder on a disk, as /var/lib/llama-agent/spool", "is on tmpfs: what waits there takes memory, and does not outlive a boot")
	}
	if need := sinks * most; f.Free < need-f.Used {
		wrong(fmt.Sprintf("more room, or spool.max_size: %dMiB or less", max(1, (f.Free+f.Used)/sinks>>20)),
			"may need %s (spool.max_size, of each of %d sinks), holds %s, and %s are free: on a full disk batches wait in memory, and the oldest go (docs/delivery.md)", mebi(need), sinks, mebi(f.Used), mebi(f.Free))
	}
	if f.Exists && f.Mode&0o002 != 0 {
		wrong("chmod o-w "+f.Path, "is open to all users (mode %04o): they could change or delete what waits there", f.Mode)
	}
	if f.Exists && f.UID != uid {
		wrong(fmt.Sprintf("run check as the agent is run; or, as root: chown -R %d %s", uid, f.Path), "belongs to uid %d, and this process is uid %d: what one of them makes the other may not write", f.UID, uid)
	}
	if len(out) > 0 {
		return out
	}
	verb := "can be made"
	if f.Exists {
		verb = "is there"
	}
	return []finding{{Name: "spool", OK: true, Data: f,
		Detail: fmt.Sprintf("%s %s: it holds %s, may come to %s (%d sinks), and %s are free", f.Path, verb, mebi(f.Used), mebi(sinks*most), sinks, mebi(f.Free))}}
}

// mebi is octets in MiB, rounded up, or in KiB below one.
func mebi(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	return fmt.Sprintf("%d MiB", (n+(1<<20-1))>>20)
}
