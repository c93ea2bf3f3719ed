// The least that a reflector over sockets with kernel stamps can do: asks the kernel for what ours asks for, writes the
// STAMP reply with T2 and T3, and keeps nothing. No session, no guard, no counter. The measure for what our reflector adds.
// Our probes only: 68 octets, IPv4.
// usage: reflect PORT
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/net_tstamp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 8 // as ours
#define LEN 2048
#define CONTROL 256
#define SIZE 68
#define NTP_UNIX 2208988800u // s from 1900 to 1970

struct seen {
	struct timespec rx;
	int ttl;
	uint8_t tos;
	struct in_pktinfo to;
};

static char buf[BATCH][LEN], in_control[BATCH][CONTROL], out_control[BATCH][CONTROL];
static struct sockaddr_in from[BATCH];
static struct iovec in_iov[BATCH], out_iov[BATCH];
static struct mmsghdr in_msgs[BATCH], out_msgs[BATCH];

static void set(int fd, int level, int name, int value, const char *label)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)) < 0) {
		perror(label);
		exit(1);
	}
}

static int open_port(int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	set(fd, SOL_SOCKET, SO_TIMESTAMPING, SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE, "SO_TIMESTAMPING");
	set(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
	set(fd, IPPROTO_IP, IP_RECVTTL, 1, "IP_RECVTTL");
	set(fd, IPPROTO_IP, IP_RECVTOS, 1, "IP_RECVTOS");
	set(fd, IPPROTO_IP, IP_PKTINFO, 1, "IP_PKTINFO");
	set(fd, IPPROTO_IP, IP_TTL, 255, "IP_TTL");
	set(fd, IPPROTO_IP, IP_RECVERR, 1, "IP_RECVERR");
	set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE, "IP_MTU_DISCOVER");
	set(fd, SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20, "SO_RCVBUFFORCE");
	set(fd, SOL_SOCKET, SO_SNDBUFFORCE, 4 << 20, "SO_SNDBUFFORCE");
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		perror("bind");
		exit(1);
	}
	return fd;
}

static void read_control(struct msghdr *m, struct seen *s)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPING)
			memcpy(&s->rx, CMSG_DATA(c), sizeof(s->rx));
		else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL)
			memcpy(&s->ttl, CMSG_DATA(c), sizeof(s->ttl));
		else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
			s->tos = *CMSG_DATA(c);
		else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
			memcpy(&s->to, CMSG_DATA(c), sizeof(s->to));
	}
}

static void put_ntp(char *p, const struct timespec *t)
{
	uint32_t be[2] = {htonl(t->tv_sec + NTP_UNIX), htonl(((uint64_t)t->tv_nsec << 32) / 1000000000)};

	memcpy(p, be, sizeof(be));
}

// RFC 8762 section 4.3.1; RFC 8972 section 4.4 (Class of Service). T3 comes later.
static uint8_t rewrite(char *p, const struct seen *s)
{
	uint8_t dscp = (uint8_t)p[48] >> 2; // that the reply is to have

	memcpy(p + 24, p, 14); // number, T1, Error Estimate of the sender
	p[12] = 0, p[13] = 1;
	put_ntp(p + 16, &s->rx);
	memset(p + 38, 0, 6);
	p[40] = s->ttl;
	p[44] = 0; // Class of Service is understood; Direct Measurement is not, there being no counts to tell of
	p[48] = dscp << 2 | s->tos >> 6;
	p[49] = s->tos << 2;
	return dscp << 2;
}

static size_t mark(char *control, const struct in_pktinfo *to, uint8_t tos)
{
	struct msghdr m = {.msg_control = control, .msg_controllen = CONTROL};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	size_t len = CMSG_SPACE(sizeof(*to));
	struct in_pktinfo source = {.ipi_spec_dst = to->ipi_addr}; // from the address that was asked

	c->cmsg_level = IPPROTO_IP, c->cmsg_type = IP_PKTINFO, c->cmsg_len = CMSG_LEN(sizeof(source));
	memcpy(CMSG_DATA(c), &source, sizeof(source));
	if (tos) { // like ours: each mark costs
		int v = tos;

		c = (struct cmsghdr *)(control + len);
		c->cmsg_level = IPPROTO_IP, c->cmsg_type = IP_TOS, c->cmsg_len = CMSG_LEN(sizeof(v));
		memcpy(CMSG_DATA(c), &v, sizeof(v));
		len += CMSG_SPACE(sizeof(v));
	}
	return len;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return fprintf(stderr, "usage: reflect PORT\n"), 2;
	int fd = open_port(atoi(argv[1])), used = BATCH; // headers that the call before changed

	for (;;) {
		for (int i = 0; i < used; i++) {
			in_iov[i] = (struct iovec){buf[i], LEN};
			in_msgs[i].msg_hdr = (struct msghdr){
				.msg_name = &from[i], .msg_namelen = sizeof(from[i]), .msg_iov = &in_iov[i], .msg_iovlen = 1,
				.msg_control = in_control[i], .msg_controllen = CONTROL};
		}
		int n = recvmmsg(fd, in_msgs, BATCH, MSG_WAITFORONE, NULL), ready = 0;

		used = n < 0 ? 1 : n < BATCH ? n + 1 : BATCH;
		for (int i = 0; i < n; i++) {
			struct seen s = {0};

			if (in_msgs[i].msg_len != SIZE)
				continue;
			read_control(&in_msgs[i].msg_hdr, &s);
			uint8_t tos = rewrite(buf[i], &s);

			out_iov[ready] = (struct iovec){buf[i], SIZE};
			out_msgs[ready].msg_hdr = (struct msghdr){
				.msg_name = &from[i], .msg_namelen = sizeof(from[i]), .msg_iov = &out_iov[ready], .msg_iovlen = 1,
				.msg_control = out_control[ready], .msg_controllen = mark(out_control[ready], &s.to, tos)};
			ready++;
		}
		for (int i = 0; i < ready; i++) {
			struct timespec t3;

			clock_gettime(CLOCK_REALTIME, &t3);
			put_ntp((char *)out_iov[i].iov_base + 4, &t3);
		}
		for (int i = 0; i < ready;) {
			int sent = sendmmsg(fd, out_msgs + i, ready - i, MSG_DONTWAIT);

			i += sent > 0 ? sent : 1; // one that cannot be sent is skipped
		}
	}
}
