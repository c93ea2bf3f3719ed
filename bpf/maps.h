/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps, all pinned by name, so that a restart finds its sessions and
 * bpftool prints them with their fields. Names of at most 15 characters: the
 * kernel keeps no more.
 */
#pragma once

#include "shared.h"

#include <bpf/bpf_helpers.h>

/* Key: 0. Value: until when to work, and by which clock. One word to stop all.
 * Written by: user space, every second. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct llama_lease);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_lease SEC(".maps");

/* Key: 0. Value: the policy, but for prefixes. Written by: user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct llama_config);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_config SEC(".maps");

/* Key: ifindex. Value: what is ours there. More interfaces than any host's
 * uplinks, bonds and VLANs. Written by: user space, from netlink. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct llama_iface);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_iface SEC(".maps");

/* Key: llama_iface's slot. Value: packets to reflectors' ports. An array, since a
 * hash would cost each packet another search. Written by: the programs, each CPU
 * its own, in softirq: no atomics. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct llama_ifstat);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_ifstat SEC(".maps");

/* Key: address. Value: LOCAL_… flags. Hosts of containers have thousands.
 * Written by: user space, from netlink. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct llama_addr);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_local SEC(".maps");

/* Key: prefix. Value: VERDICT_… bits, those of the prefixes around it folded
 * in. Written by: user space. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct llama_lpm4);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_allow4 SEC(".maps");

/* As llama_allow4, of IPv6. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct llama_lpm6);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_allow6 SEC(".maps");

/* Key: SSID, network order. Value: 1, there is a key for it whatever the
 * source. Written by: user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __be16);
	__type(value, __u8);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_keyed SEC(".maps");

/* Key: session. Value: its counters. Of peers only: preallocated, never
 * evicted by another's. Made by: the programs; removed by: user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct llama_key);
	__type(value, struct llama_session);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_peer SEC(".maps");

/* As llama_peer, of strangers: whoever comes pushes the oldest out. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct llama_key);
	__type(value, struct llama_session);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_guest SEC(".maps");

/* Key: address of a peer; the unspecified one stands for all that have to be
 * answered without a session. Value: rate, and number of sessions in
 * llama_peer. Made by: the programs; counted anew and removed by: user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct llama_addr);
	__type(value, struct llama_source);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_source SEC(".maps");

/* Key: address of a stranger. Value: rate. Written by: the programs. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct llama_addr);
	__type(value, struct llama_gsource);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_gsource SEC(".maps");

/* Key: reason * LLAMA_ACTIONS + action. Value: packets. Written by: the
 * programs, each CPU its own, in softirq: no atomics. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LLAMA_REASONS * LLAMA_ACTIONS);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_reason SEC(".maps");

/* Key: cookie of a socket that probes leave from. Value: 1. What others send from
 * the same ports is none of ours. Written by: user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, __u8);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_socket SEC(".maps");

/* Key: flow. Value: where its slots are. As many as are configured (loader).
 * Written by: user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct llama_flow_key);
	__type(value, struct llama_flow);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_flow SEC(".maps");

/* Key: number. Value: the probe in flight. As many as are configured (loader);
 * user space reads them in place. Written by: the programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct llama_slot);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_slot SEC(".maps");

/* struct llama_event. The reader looks often enough not to be woken: a wake-up
 * would cost more than the rest. User space makes it larger for high rates. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_replies SEC(".maps");
