/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From the monotonic clock to stamps on the wire, as internal/stamp's Clock. */
#pragma once

#include "frame.h"

#define SECOND 1000000000ULL
#define NTP_UNIX_DELTA 2208988800ULL /* seconds from 1900 to 1970 */
/* A whole era more changes no stamp, and keeps the sum of any clock positive. */
#define ERA (1ULL << 32)

/* The clock as it was when the packet came. User space may move it meanwhile:
 * both stamps of a packet must be of one clock. */
struct wire_clock {
	__u64 offset_ns; /* from CLOCK_MONOTONIC to the scale and epoch on the wire */
	__be16 error_estimate;
	bool ptp;
};

static __always_inline void clock_read(const struct llama_lease *lease, struct wire_clock *c)
{
	c->ptp = lease->ptp;
	c->error_estimate = lease->error_estimate;
	c->offset_ns = lease->wall_offset_ns + ERA * SECOND;
	if (c->ptp)
		c->offset_ns += (__s64)lease->tai_offset_s * (__s64)SECOND;
	else
		c->offset_ns += NTP_UNIX_DELTA * SECOND;
	opaque(c->offset_ns); /* read once */
}

/* A moment on that scale. */
struct wire_moment {
	__u64 sec;
	__u64 ns; /* less than a second */
};

static __always_inline struct wire_moment wire_moment(const struct wire_clock *c, __u64 mono_ns)
{
	struct wire_moment m = {.ns = mono_ns + c->offset_ns};

	m.sec = m.ns / SECOND;
	m.ns -= m.sec * SECOND;
	return m;
}

/* moment_later spares the division, which costs as much as a search in a map. */
static __always_inline struct wire_moment moment_later(struct wire_moment m, __u64 ns)
{
	m.ns += ns;
	if (m.ns >= SECOND) {
		opaque(m.ns); /* or clang divides first and asks after */
		m.sec += m.ns / SECOND;
		m.ns %= SECOND;
	}
	return m;
}

/* 2^63 / SECOND, rounded: less than 2^30 ns times that fits 64 bits, and the fraction
 * differs from that of a division by one unit (0.2 ns) at most. */
#define NTP_UNITS 9223372037ULL

/* A timestamp as it lies in the packet. */
struct wire_stamp {
	__be32 sec, frac;
};

static __always_inline struct wire_stamp wire_stamp(const struct wire_clock *c, struct wire_moment m)
{
	__u64 frac = c->ptp ? m.ns : (m.ns * NTP_UNITS + (1ULL << 30)) >> 31;

	return (struct wire_stamp){bpf_htonl(m.sec), bpf_htonl(frac)};
}
