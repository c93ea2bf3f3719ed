// The least that a prober over sockets with kernel stamps can do: sends STAMP probes evenly, reads their transmit
// stamps and replies, adds up, and keeps nothing. No match, no window, no direction. The measure for what our collector adds.
// usage: probe FIRST_TARGET TARGETS PORTS PROBES_PER_SECOND
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/net_tstamp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#define MAX_PORTS 64
#define BATCH 64
#define LEN 2048
#define CONTROL 256
#define QUANTUM 500000L   // ns: what is due within it leaves together, as ours does
#define DRAIN 20000000L   // ns: sockets are read at least that often, as ours are

static int fd[MAX_PORTS], ports, targets, epoll;
static struct sockaddr_in *to;
static char out[BATCH][68], in[BATCH][LEN];
static struct iovec out_iov[BATCH], in_iov[BATCH];
static struct mmsghdr out_msgs[BATCH], in_msgs[BATCH];
static char control[BATCH][CONTROL], marks[BATCH][CMSG_SPACE(sizeof(int))];
static unsigned long sent, stamps, replies;
static volatile unsigned long stamp_sum;

static long now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static int must(int r, const char *what)
{
	if (r < 0) {
		perror(what);
		exit(1);
	}
	return r;
}

static int open_port(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	int on = 1, size = 4 << 20, s = must(socket(AF_INET, SOCK_DGRAM, 0), "socket"), df = IP_PMTUDISC_PROBE;
	int flags = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_TX_SOFTWARE;

	must(setsockopt(s, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof(flags)), "SO_TIMESTAMPING");
	setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(s, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on));
	setsockopt(s, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on));
	setsockopt(s, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
	setsockopt(s, IPPROTO_IP, IP_MTU_DISCOVER, &df, sizeof(df));
	must(bind(s, (struct sockaddr *)&any, sizeof(any)), "bind");
	return s;
}

static void set_up(const char *first)
{
	static const char tlvs[24] = {(char)0x80, 4, 0, 4, 0, 0, 0, 0, (char)0x80, 5, 0, 12};

	to = calloc(targets, sizeof(*to));
	for (int i = 0; i < targets; i++) {
		to[i].sin_family = AF_INET;
		to[i].sin_port = htons(862);
		to[i].sin_addr.s_addr = htonl(ntohl(inet_addr(first)) + i);
	}
	epoll = must(epoll_create1(0), "epoll_create1");
	for (int i = 0; i < ports; i++) {
		struct epoll_event ev = {.events = EPOLLIN | EPOLLERR, .data.fd = fd[i] = open_port()};

		must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd[i], &ev), "epoll_ctl");
	}
	for (int i = 0; i < BATCH; i++) {
		memcpy(out[i] + 44, tlvs, sizeof(tlvs));
		out[i][12] = 0, out[i][13] = 1, out[i][15] = 1;
		out_iov[i] = (struct iovec){out[i], sizeof(out[i])};
		in_iov[i] = (struct iovec){in[i], LEN};
		struct cmsghdr *c = (struct cmsghdr *)marks[i];
		c->cmsg_level = IPPROTO_IP, c->cmsg_type = IP_TTL, c->cmsg_len = CMSG_LEN(sizeof(int));
		*(int *)CMSG_DATA(c) = 255;
	}
}

// Flow k leaves from port k / targets, so that those due together share a socket.
static void send_due(unsigned long from, unsigned long until)
{
	unsigned long flows = (unsigned long)ports * targets;

	while (from < until) {
		int port = from % flows / targets, n = 0;

		for (; n < BATCH && from + n < until && (int)((from + n) % flows / targets) == port; n++) {
			unsigned int seq = htonl((from + n) / flows), frac[2];
			long wall = now(CLOCK_REALTIME);

			frac[0] = htonl(wall / 1000000000 + 2208988800UL);
			frac[1] = htonl(((unsigned long)(wall % 1000000000) << 32) / 1000000000);
			memcpy(out[n], &seq, 4);
			memcpy(out[n] + 4, frac, 8);
			out_msgs[n].msg_hdr = (struct msghdr){
				.msg_name = &to[(from + n) % targets], .msg_namelen = sizeof(*to), .msg_iov = &out_iov[n],
				.msg_iovlen = 1, .msg_control = marks[n], .msg_controllen = sizeof(marks[n])};
		}
		for (int i = 0; i < n;) {
			int r = sendmmsg(fd[port], out_msgs + i, n - i, MSG_DONTWAIT);

			sent += r > 0 ? r : 0;
			i += r > 0 ? r : 1;
		}
		from += n;
	}
}

static int receive(int s, int flags)
{
	static int used = BATCH; // headers that the call before changed

	for (int i = 0; i < used; i++)
		in_msgs[i].msg_hdr = (struct msghdr){
			.msg_iov = &in_iov[i], .msg_iovlen = 1, .msg_control = control[i], .msg_controllen = CONTROL};
	int n = recvmmsg(s, in_msgs, BATCH, MSG_DONTWAIT | flags, NULL);

	used = n < 0 ? 1 : n < BATCH ? n + 1 : BATCH;
	for (int i = 0; i < n; i++)
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&in_msgs[i].msg_hdr); c; c = CMSG_NXTHDR(&in_msgs[i].msg_hdr, c))
			if (c->cmsg_level == SOL_SOCKET)
				stamp_sum += ((struct timespec *)CMSG_DATA(c))->tv_nsec;
	return n < 0 ? 0 : n;
}

static void drain(void)
{
	struct epoll_event ev[MAX_PORTS];

	for (int n; (n = epoll_wait(epoll, ev, MAX_PORTS, 0)) > 0;)
		for (int i = 0; i < n; i++) {
			if (ev[i].events & EPOLLERR)
				stamps += receive(ev[i].data.fd, MSG_ERRQUEUE);
			if (ev[i].events & EPOLLIN)
				replies += receive(ev[i].data.fd, 0);
		}
}

int main(int argc, char **argv)
{
	double rate;

	if (argc != 5 || (targets = atoi(argv[2])) < 1 || (ports = atoi(argv[3])) < 1 || ports > MAX_PORTS || (rate = atof(argv[4])) <= 0) {
		fprintf(stderr, "usage: probe FIRST_TARGET TARGETS PORTS(1 to %d) PROBES_PER_SECOND\n", MAX_PORTS);
		return 2;
	}
	prctl(PR_SET_TIMERSLACK, 1); // ns
	set_up(argv[1]);
	long start = now(CLOCK_MONOTONIC), drained = start;
	unsigned long done = 0, unread = 0;

	for (;;) {
		long t = now(CLOCK_MONOTONIC);
		unsigned long due = (unsigned long)((t - start) * (rate / 1e9));

		if (due > done + 1000)
			done = due - 1000; // skipped: never a burst
		send_due(done, due);
		unread += due - done, done = due;
		if (unread >= BATCH || t - drained >= DRAIN)
			drain(), unread = 0, drained = t;
		long next = start + (long)((done + 1) * (1e9 / rate)) + 1;
		if (next < t + QUANTUM && rate > 1e9 / QUANTUM)
			next = t + QUANTUM;
		struct timespec at = {next / 1000000000, next % 1000000000};
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
	}
}
