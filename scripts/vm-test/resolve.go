package main

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// flavour is Debian's kernel for clouds: a third of the size of the one for PCs, and it has every module tested here.
const flavour = "cloud-amd64"

// A kernel is one release of Linux, and the packages that its files are in.
type kernel struct {
	line     string // as it was asked for: 6.1, or 7 for the newest 7.x
	release  string // as uname -r says it
	version  string // of the packages
	packages []string
}

// kernelPackage is every package that may hold files of a kernel. Packages that still have to be signed are left out.
var kernelPackage = regexp.MustCompile(`^linux-(image|base|binary|modules)-([0-9]+\.[0-9]+[^ ]*-` + flavour + `)$`)

// A stanza is what is used of a package's entry in the lists.
type stanza struct{ name, version, depends string }

// parseStanzas reads the output of `apt-cache show`.
func parseStanzas(b []byte) (all []stanza) {
	var s stanza
	end := func() {
		if s.name != "" {
			all = append(all, s)
		}
		s = stanza{}
	}
	scan := bufio.NewScanner(bytes.NewReader(b))
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		key, value, ok := strings.Cut(scan.Text(), ": ")
		switch {
		case scan.Text() == "":
			end()
		case !ok:
		case key == "Package":
			s.name = value
		case key == "Version":
			s.version = value
		case key == "Depends":
			s.depends = value
		}
	}
	end()
	return all
}

// kernels finds the releases whose packages are all in the lists: those of releases that are on their way out are
// sometimes half gone.
func kernels(all []stanza) (found []kernel) {
	type key struct{ role, release string }
	newest := map[key]stanza{}
	for _, s := range all {
		m := kernelPackage.FindStringSubmatch(s.name)
		if m == nil {
			continue
		}
		k := key{m[1], m[2]}
		if was, ok := newest[k]; !ok || compareVersions(was.version, s.version) < 0 {
			newest[k] = s
		}
	}
	for k, image := range newest {
		if k.role != "image" {
			continue
		}
		found = appendComplete(found, k.release, image, func(role string) (stanza, bool) {
			s, ok := newest[key{role, k.release}]
			return s, ok && s.version == image.version
		})
	}
	slices.SortFunc(found, func(a, b kernel) int { return compareVersions(a.version, b.version) })
	return found
}

// appendComplete: from 6.19 on the image package only depends on those that hold the files. The base package has what is
// said of the modules, where there is one.
func appendComplete(found []kernel, release string, image stanza, get func(role string) (stanza, bool)) []kernel {
	k := kernel{release: release, version: image.version}
	if base, ok := get("base"); ok {
		k.packages = append(k.packages, base.name)
	}
	if !strings.Contains(image.depends, "linux-modules-"+release) {
		k.packages = append(k.packages, image.name)
		return append(found, k)
	}
	binary, ok1 := get("binary")
	modules, ok2 := get("modules")
	if !ok1 || !ok2 {
		return found
	}
	k.packages = append(k.packages, binary.name, modules.name)
	return append(found, k)
}

// newestOf picks the newest kernel of a line: "6.1" is 6.1.x, "7" is 7.x.
func newestOf(sorted []kernel, line string) (kernel, error) {
	for _, k := range slices.Backward(sorted) {
		if k.version == line || strings.HasPrefix(k.version, line+".") || k.release == line {
			k.line = line
			return k, nil
		}
	}
	return kernel{}, fmt.Errorf("find kernel %s: none in the package lists has all its packages", line)
}
