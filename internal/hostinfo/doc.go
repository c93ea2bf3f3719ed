// Package hostinfo reads what a host can do for the datapath and what bends its
// figures: the kernel, this process's rights, interfaces and what lies above and
// below them, sleep states, connection tracking. It never changes anything.
//
// What cannot be learnt is left out (nil, empty, or absent from JSON), never
// reported as 0. Judging is left to the caller.
//
// Network facts are those of the calling thread's network namespace: they come
// from netlink and ethtool and not from /sys, which shows the namespace that it
// was mounted in. A caller that changes namespaces locks its thread.
package hostinfo
