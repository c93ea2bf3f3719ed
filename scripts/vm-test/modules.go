package main

import (
	_ "embed" // modules.txt
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

//go:embed modules.txt
var modulesText string

// A wanted module: the first of its names that a kernel has, with parameters.
type wanted struct {
	names  []string
	params string
}

func parseWanted(text string) (all []wanted) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		all = append(all, wanted{strings.Split(f[0], "|"), strings.Join(f[1:], " ")})
	}
	return all
}

// moduleTree is what depmod and the kernel's build know of the modules of a release.
type moduleTree struct {
	files   map[string]string   // by name: path below lib/modules/RELEASE
	depends map[string][]string // by name: what must be there before, nearest first
	builtin map[string]bool
}

// moduleName: the kernel takes "-" for "_".
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// parseModules reads modules.dep ("FILE: FILE…") and modules.builtin (a file a line).
func parseModules(dep, builtin string) *moduleTree {
	t := &moduleTree{files: map[string]string{}, depends: map[string][]string{}, builtin: map[string]bool{}}
	for line := range strings.Lines(dep) {
		file, needs, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		name := moduleName(file)
		t.files[name] = file
		for need := range strings.FieldsSeq(needs) {
			t.depends[name] = append(t.depends[name], moduleName(need))
		}
	}
	for file := range strings.FieldsSeq(builtin) {
		t.builtin[moduleName(file)] = true
	}
	return t
}

func readModules(dir string) (*moduleTree, error) {
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("read modules: %w", err)
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("read modules: %w", err)
	}
	return parseModules(string(dep), string(builtin)), nil
}

// A loadable is a module to load.
type loadable struct{ name, file, params string }

// order returns the modules to load, each after what it needs, and what the kernel lacks.
func (t *moduleTree) order(all []wanted) (load []loadable, lacking []string) {
	done := map[string]bool{}
	var add func(name, params string)
	add = func(name, params string) {
		if done[name] {
			return
		}
		done[name] = true
		for _, need := range t.depends[name] {
			add(need, "")
		}
		load = append(load, loadable{name, t.files[name], params})
	}
	params := map[string]string{}
	var names []string
	for _, w := range all {
		name, ok := t.first(w.names)
		switch {
		case !ok:
			lacking = append(lacking, w.names[0])
		case !t.builtin[name]:
			names = append(names, name)
			params[name] = w.params
		}
	}
	for _, name := range names {
		add(name, "")
	}
	// One that was loaded because another needs it has its parameters all the same.
	for i := range load {
		load[i].params = params[load[i].name]
	}
	return load, lacking
}

func (t *moduleTree) first(names []string) (string, bool) {
	for _, name := range names {
		name = moduleName(name)
		if t.builtin[name] || t.files[name] != "" {
			return name, true
		}
	}
	return "", false
}
