package main

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed c/*.c
var sources embed.FS

// programs is what is built for the run, in a folder that goes with it.
type programs struct {
	dir                                               string
	agent                                             string
	goEcho                                            string
	echo, reflect, load, rtt, nap, probe, flood, send string // of C
}

func build(ctx context.Context, dir string) (programs, error) {
	in := func(name string) string { return filepath.Join(dir, name) }
	p := programs{dir: dir, agent: in("llama-agent"), echo: in("echo"), reflect: in("reflect"), goEcho: in("goecho"), load: in("load"), rtt: in("rtt"), nap: in("nap"), probe: in("probe"), flood: in("flood"), send: in("send")}
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return p, fmt.Errorf("find module: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(mod)))
	for out, pkg := range map[string]string{p.agent: "./cmd/llama-agent", p.goEcho: "./scripts/bench/goecho"} {
		if err := compile(ctx, root, "go", "build", "-o", out, pkg); err != nil {
			return p, err
		}
	}
	for _, out := range []string{p.echo, p.reflect, p.load, p.rtt, p.nap, p.probe, p.flood, p.send} {
		name := filepath.Base(out) + ".c"
		text, err := sources.ReadFile("c/" + name)
		if err != nil {
			return p, err
		}
		if err := os.WriteFile(in(name), text, 0o600); err != nil {
			return p, err
		}
		if err := compile(ctx, dir, "gcc", "-O2", "-Wall", "-Werror", "-o", out, name); err != nil {
			return p, err
		}
	}
	return p, nil
}

func compile(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// installed says whether a peer is on this machine.
func installed(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}
