/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What crosses to user space: the records in the maps, and the words for how a
 * packet ended. No record may have a hole in it: the compiler refuses one.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#define LLAMA_MAX_PORTS 16
#define LLAMA_MAX_REFUSED 64
#define LLAMA_MAX_MACS 4

/* How a packet ended. Each reason has one action: see action_of in count.h. */
enum llama_action {
	ACTION_PASS,  /* to the host's stack, untouched */
	ACTION_DROP,  /* as the socket reflector would not answer it either */
	ACTION_REPLY, /* rewritten, and back where it came from */
	ACTION_TAKE,  /* a reply to a probe of ours: user space has it from the ring */
	ACTION_ABORT, /* half rewritten: nobody may have it */
	LLAMA_ACTIONS,
};

/* Why. The order is the actions': see action_of. */
enum llama_reason {
	/* reply */
	REASON_REPLIED,
	REASON_STATELESS, /* replied without a session: no room for one */
	REASON_LEGACY,    /* a probe of Dropbox's LLAMA, returned as it was */

	/* pass: nothing of ours, or not for this host */
	REASON_DISARMED,
	REASON_LEASE_EXPIRED,
	REASON_TRUNCATED, /* ends within its headers, or they are not linear */
	REASON_NOT_IP,
	REASON_VLAN_DEPTH, /* more than two tags */
	REASON_IP_HEADER,  /* version, header or total length */
	REASON_IP_CHECKSUM,
	REASON_FRAGMENT,
	REASON_IPV6_EXTENSION,
	REASON_NOT_UDP,
	REASON_OTHER_PORT,
	REASON_UDP_LENGTH,
	REASON_UDP_NO_CHECKSUM, /* IPv6 must have one */
	REASON_UDP_CHECKSUM,    /* wrong: corrupted on the way */
	REASON_OTHER_INTERFACE,
	REASON_OTHER_MAC, /* broadcast, multicast, flooded */
	REASON_SOURCE_MAC,
	REASON_OTHER_ADDRESS, /* in transit, or to a group */
	REASON_NOT_UNICAST,   /* the source, or a loopback address on a wire */
	REASON_SOURCE_OURS,
	REASON_SHORT,

	/* pass: a probe for the socket reflector, and its session with it */
	REASON_KEYED, /* may have to authenticate */
	REASON_SESSION_UP,
	REASON_SUPER_PACKET, /* several datagrams in one buffer (GRO, GSO) */
	REASON_IP_OPTIONS,
	REASON_TWAMP_LIGHT,
	REASON_TLV_UNKNOWN,
	REASON_TLV_MALFORMED,
	REASON_TLV_MANY,
	REASON_TLV_NOT_LINEAR,
	REASON_UDP_LONG, /* longer than what a checksum is verified of */
	REASON_NO_LIMITER,
	REASON_LEGACY_FORM, /* to LLAMA's port, in another form than its collectors send */

	/* pass: to a port of our probes, for the socket that sent */
	REASON_NO_FLOW,
	REASON_NOT_IN_FLIGHT, /* no probe with that number and T1 waits for it */

	/* drop */
	REASON_PORT_LOW,
	REASON_PORT_REFLECTOR,
	REASON_NOT_ALLOWED,
	REASON_LOOKS_LIKE_REPLY,
	REASON_RATE_PEER,
	REASON_RATE_STRANGER,

	/* take */
	REASON_CAPTURED,
	REASON_RING_FULL, /* marked in its slot: a drop of ours */

	/* abort */
	REASON_WRITE_FAILED,

	LLAMA_REASONS,
};

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"

struct llama_lease {
	__u64 until_ns;       /* CLOCK_MONOTONIC; 0: disarmed */
	__s64 wall_offset_ns; /* CLOCK_REALTIME - CLOCK_MONOTONIC */
	__s32 tai_offset_s;   /* TAI - UTC; only in the PTP format */
	__be16 error_estimate;
	__u8 ptp; /* 0: NTP's 32.32; 1: PTPv2's seconds and nanoseconds */
	__u8 pad;
};

/* A token bucket as GCRA: requests come interval_ns apart, bursts run ahead. */
struct llama_rate {
	__u64 interval_ns;
	__u64 tolerance_ns;
};

struct llama_config {
	/* Bit p & 63 is set for each port p below: most packets need no search. */
	__u64 ports_filter;
	__u64 refused_filter;
	__u64 deny_dscp; /* bit n: a reply may not be asked for with DSCP n */
	struct llama_rate peer_rate;
	struct llama_rate stranger_rate;
	__u32 gen; /* changes with llama_iface and llama_local; never 0 */
	__u32 sessions_per_peer;
	__u32 min_len;                     /* octets of UDP payload */
	__be16 ports[LLAMA_MAX_PORTS];     /* that the reflector listens on; 0: none */
	__be16 refused[LLAMA_MAX_REFUSED]; /* source ports of reflectors; 0: none */
	__u16 probes_first, probes_last;   /* source ports of our probes; 0: none */
	__u8 nports, nrefused;
	__u8 allow_862;
	__u8 twamp_light;
	__u8 keyed; /* llama_keyed has entries */
	__u8 pad;
	__be16 legacy_port; /* one of ports, where LLAMA's probes are answered and nothing else; 0: none */
};

struct llama_addr {
	__u8 octets[16]; /* IPv4 in its mapped form */
};

struct llama_mac {
	__u8 octets[6];
	__u8 pad[2];
};

struct llama_iface {
	struct llama_mac macs[LLAMA_MAX_MACS]; /* that are this host's there */
	__u32 nmacs;
	__u32 flags; /* IFACE_… */
	__u32 slot;  /* of its counters, in llama_ifstat */
};

#define IFACE_LOOPBACK 1

struct llama_ifstat {
	__u64 seen; /* to a reflector's port */
	__u64 answered;
	__u64 passed_up;
	__u64 dropped;
};

/* Flags of llama_local. */
#define LOCAL_UNICAST 1   /* ours, answered from */
#define LOCAL_BROADCAST 2 /* of a subnet of ours: never a source */

/* Verdicts on a source, in llama_allow4 and llama_allow6. */
#define VERDICT_ALLOWED 1
#define VERDICT_PEER 2
#define VERDICT_KEYED 4 /* some key may apply */

struct llama_lpm4 {
	__u32 prefixlen;
	__u8 octets[4];
};

struct llama_lpm6 {
	__u32 prefixlen;
	__u8 octets[16];
};

struct llama_key {
	struct llama_addr src;
	struct llama_addr dst;
	__be16 sport;
	__be16 dport;
	__u16 pad;
	__be16 ssid;
	__u32 ifindex; /* of link-local sources, else 0 */
};

struct llama_session {
	__u64 seen_ns; /* CLOCK_MONOTONIC, of the last request */
	__u32 rx;      /* requests, those refused by the rate included */
	__u32 tx;      /* replies */
	__u32 flags;   /* SESSION_… */
	/* What guard_host let in last: the next packet need not ask all again. */
	__u32 gen;
	__u32 ifindex;
	__u32 slot;
	struct llama_mac mac;
};

#define SESSION_UP 1 /* lives in the socket reflector from now on */

struct llama_source {
	__u64 tat_ns; /* theoretical arrival time, CLOCK_MONOTONIC */
	__u32 sessions;
	__u32 gen; /* of the configuration by which it is a peer, and has no key */
};

struct llama_gsource {
	__u64 tat_ns;
};

/* A flow of our probes, as its replies tell it. */
struct llama_flow_key {
	struct llama_addr dst;
	__be16 dport;
	__be16 sport;
	__u16 pad;
	__be16 ssid;
};

struct llama_flow {
	__u32 row;   /* user space's name for it */
	__u32 first; /* of its slots */
	__u32 mask;  /* their number, a power of two, less 1 */
};

/* A probe in flight. */
struct llama_slot {
	__u64 t1_ns;       /* CLOCK_MONOTONIC, at egress */
	__be32 t1_wire[2]; /* as it was written: a reply must return it */
	__u32 seq;
	__u32 state; /* SLOT_… */
};

#define SLOT_SENT 1
#define SLOT_EVENT_LOST 2 /* a reply came, and found no room in the ring */

#define EVENT_REPLY_LEN 68

/* A reply to a probe of ours. */
struct llama_event {
	__u64 t1_ns, t4_ns; /* CLOCK_MONOTONIC */
	__u32 row;
	__u16 len; /* octets of UDP payload */
	__u8 ttl, tos;
	__u8 reply[EVENT_REPLY_LEN]; /* its beginning */
	__u8 pad[4];
};

#pragma clang diagnostic pop
