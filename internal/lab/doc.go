// Package lab builds small networks out of Linux network namespaces, for tests and the demo.
//
// A lab is N hosts and one fabric namespace that routes between them:
//
//	host h1                    fabric                     host h2
//	eth0 10.77.1.2/24  ────  p-h1 10.77.1.1
//	     fd77:0:0:1::2/64         fd77:0:0:1::1
//	                         p-h2 10.77.2.1      ────  eth0 10.77.2.2/24
//
// Every fault (loss, rewriting, duplication, refusal, rate, a cut cable) and every capture is in
// the fabric, never in a host: a host's own taps and rules do not see what XDP reflects there, and
// a drop on a host's output is an error to the sender, not loss.
//
// Neighbours are permanent and duplicate address detection is off, so the first packet crosses like
// any other. Checksum offload is off at every port: what crosses carries whole checksums, as on a wire.
//
// Namespaces are named llama-<pid>-<start>-<random>-<host> under /run/netns, where `ip netns` finds them.
package lab
