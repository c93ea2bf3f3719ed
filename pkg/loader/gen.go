package loader

// The compiler and where the kernel's headers are come from the Makefile: run
// `make generate`. It is for both byte orders, so that the package builds
// everywhere.
//
//go:generate go tool bpf2go -tags linux -output-stem llama -type llama_event bpf ../../bpf/llama.bpf.c -- -O2 -g -mcpu=v2 -Wall -Wextra -Wno-unused-parameter -Werror
