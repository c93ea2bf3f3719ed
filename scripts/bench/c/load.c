// Keeps a window of requests under way from each of many source ports, so that what answers is never idle
// and nothing overflows. A port's requests leave in one call and are cut apart by the kernel (UDP_SEGMENT):
// the generator has to be faster than what it measures.
// usage: load ADDRESS PORT SECONDS PORTS WINDOW stamp|sockperf
// prints: replies a second, and requests that were given up
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#define SIZE 68 // octets: STAMP with Class of Service and Direct Measurement, as our probes
#define MAX_PORTS 256
#define MAX_WINDOW 64
#define GIVE_UP 100000000 // ns without a reply

struct port {
	int fd, away;
	uint32_t seq;
	uint64_t heard;
};

static struct port ports[MAX_PORTS];
static char out[MAX_WINDOW * SIZE], in[MAX_WINDOW][SIZE];
static struct mmsghdr msgs[MAX_WINDOW];
static struct iovec iov[MAX_WINDOW];

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

// RFC 8762 section 4.2.1, RFC 8972 sections 4.4 and 4.5: the parts that do not change.
static void put_stamp(char *p)
{
	memcpy(p + 12, "\x00\x01\x00\x01", 4);   // Error Estimate, SSID
	memcpy(p + 44, "\x80\x04\x00\x04", 4);   // Class of Service
	memcpy(p + 52, "\x80\x05\x00\x0c", 4);   // Direct Measurement
}

static void put(char *p, uint32_t seq, int sockperf)
{
	uint32_t be = htobe32(seq), next = htobe32(seq + 1);

	if (sockperf) { // number (8), flags: from a client, wants an answer (2), length (4)
		memcpy(p + 4, &be, 4);
		memcpy(p + 8, "\x00\x03\x00\x00\x00\x44", 6);
		return;
	}
	memcpy(p, &be, 4);
	memcpy(p + 56, &next, 4); // S_TxC
}

static int open_port(struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0), segment = SIZE, size = 4 << 20;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment)) < 0 ||
	    connect(fd, (struct sockaddr *)to, sizeof(*to)) < 0) {
		perror("open port");
		exit(1);
	}
	return fd;
}

static void fill(struct port *p, int window, int sockperf)
{
	int n = window - p->away;

	for (int i = 0; i < n; i++)
		put(out + i * SIZE, p->seq++, sockperf);
	if (send(p->fd, out, n * SIZE, MSG_DONTWAIT) > 0)
		p->away = window;
}

int main(int argc, char **argv)
{
	if (argc != 7)
		return fprintf(stderr, "usage: load ADDRESS PORT SECONDS PORTS WINDOW stamp|sockperf\n"), 2;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
	int n = atoi(argv[4]), window = atoi(argv[5]), sockperf = !strcmp(argv[6], "sockperf");
	uint64_t replies = 0, lost = 0, start = now(), t = start;
	uint64_t end = start + (uint64_t)(atof(argv[3]) * 1e9);

	inet_pton(AF_INET, argv[1], &to.sin_addr);
	if (n < 1 || n > MAX_PORTS || window < 2 || window > MAX_WINDOW)
		return fprintf(stderr, "at most %d ports, a window of 2 to %d\n", MAX_PORTS, MAX_WINDOW), 2;
	for (int i = 0; i < MAX_WINDOW; i++) {
		if (!sockperf)
			put_stamp(out + i * SIZE);
		iov[i] = (struct iovec){in[i], SIZE};
		msgs[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
	}
	for (int i = 0; i < n; i++)
		ports[i] = (struct port){.fd = open_port(&to), .heard = start};
	for (; t < end; t = now()) {
		for (int i = 0; i < n; i++) {
			struct port *p = &ports[i];
			int got = p->away ? recvmmsg(p->fd, msgs, MAX_WINDOW, MSG_DONTWAIT, NULL) : 0;
			if (got > 0) {
				replies += got;
				p->away -= got < p->away ? got : p->away;
				p->heard = t;
			} else if (t > p->heard + GIVE_UP) {
				lost += p->away;
				p->away = 0;
				p->heard = t;
			}
			if (p->away <= window / 2)
				fill(p, window, sockperf);
		}
	}
	printf("%.0f %llu\n", replies / ((t - start) / 1e9), (unsigned long long)lost);
	return 0;
}
