// Package loader puts the reflector into the kernel: it loads the BPF object,
// keeps its maps, and attaches its programs. It is the only package that knows
// of BPF.
//
// The programs and the maps are in bpf/, in C; what crosses is in bpf/shared.h.
package loader
