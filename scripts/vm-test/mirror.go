package main

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"strings"
)

// keyring holds the keys of all Debian releases.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// suites are where kernels come from. A suite that the mirror has no more only costs a warning.
var suites = []string{
	"bullseye", "bullseye-security", "bookworm", "bookworm-security", "bookworm-backports",
	"trixie", "trixie-security", "trixie-backports",
}

// mirrors are the archives that this machine itself installs from.
type mirrors struct{ main, security string }

// findMirrors picks Debian's archives from what `apt-get indextargets` says: lines of URI, origin and label, of which the
// last two are only known once the lists were downloaded.
func findMirrors(targets string) (m mirrors, err error) {
	for line := range strings.Lines(targets) {
		uri, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		origin, label, _ := strings.Cut(rest, " ")
		folder := path.Base(strings.TrimRight(uri, "/"))
		switch {
		case origin == "Debian" && label == "Debian-Security", origin != "Debian" && folder == "debian-security":
			m.security = cmp.Or(m.security, uri)
		case origin == "Debian" && label == "Debian", origin != "Debian" && folder == "debian":
			m.main = cmp.Or(m.main, uri)
		}
	}
	if m.main == "" {
		return m, fmt.Errorf("find a Debian mirror: none among the sources of this machine's apt (set VM_MIRROR to one)")
	}
	return m, nil
}

// sourcesList is apt's list of the suites. Nothing but the packages' index is wanted of them.
func (m mirrors) sourcesList() string {
	var b strings.Builder
	for _, suite := range suites {
		uri := m.main
		if strings.HasSuffix(suite, "-security") {
			uri = m.security
		}
		if uri != "" {
			fmt.Fprintf(&b, "deb [arch=amd64 lang=none target=Packages signed-by=%s] %s %s main\n", keyring, uri, suite)
		}
	}
	return b.String()
}

func checkKeyring() error {
	if _, err := os.Stat(keyring); err != nil {
		return fmt.Errorf("find Debian's keys: %w (apt-get install debian-archive-keyring)", err)
	}
	return nil
}
