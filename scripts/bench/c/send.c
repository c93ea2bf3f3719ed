// Sends STAMP probes as fast as its core goes, from as many sockets as ours or as frames from one packet socket, and does
// nothing else: no stamp is taken, no reply read. What no prober that sends so can be above.
// usage: send udp|packet SOURCE ADDRESS FIRST_PORT TARGETS PORTS SECONDS INTERFACE SOURCE_MAC NEXT_MAC
// prints: probes that left, and CPU seconds
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define SIZE 68 // octets: STAMP with Class of Service and Direct Measurement, as our probes
#define HEADERS (14 + 20 + 8)
#define BATCH 64
#define MAX_PORTS 256
#define FIRST_SOURCE_PORT 20000

static char out[BATCH][HEADERS + SIZE];
static struct sockaddr_in to[BATCH];
static struct iovec iov[BATCH];
static struct mmsghdr msgs[BATCH];
static int fds[MAX_PORTS];

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int must(int r, const char *what)
{
	if (r < 0) {
		perror(what);
		exit(1);
	}
	return r;
}

static int udp_socket(in_addr_t source, int port)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = source, .sin_port = htons(port)};
	int room = 4 << 20, s = must(socket(AF_INET, SOCK_DGRAM, 0), "socket");

	setsockopt(s, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	must(bind(s, (struct sockaddr *)&here, sizeof(here)), "bind");
	return s;
}

static int packet_socket(const char *interface)
{
	struct sockaddr_ll here = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(interface)};
	int room = 4 << 20, s = must(socket(AF_PACKET, SOCK_RAW, 0), "socket");

	setsockopt(s, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	must(bind(s, (struct sockaddr *)&here, sizeof(here)), "bind");
	return s;
}

static void mac(char *at, const char *text)
{
	unsigned int b[6];

	if (sscanf(text, "%x:%x:%x:%x:%x:%x", b, b + 1, b + 2, b + 3, b + 4, b + 5) != 6)
		exit(2);
	for (int i = 0; i < 6; i++)
		at[i] = b[i];
}

// The UDP checksum is left out: no prober that has one is faster.
static void frame(char *at, in_addr_t source, in_addr_t dest, int port, const char *from, const char *next)
{
	struct iphdr ip = {.version = 4, .ihl = 5, .tot_len = htons(20 + 8 + SIZE), .frag_off = htons(0x4000), .ttl = 255,
			   .protocol = IPPROTO_UDP, .saddr = source, .daddr = dest};
	struct udphdr udp = {.dest = htons(port), .len = htons(8 + SIZE)};
	unsigned long sum = 0;

	for (int i = 0; i < 10; i++)
		sum += ((unsigned short *)&ip)[i];
	sum = (sum & 0xffff) + (sum >> 16);
	ip.check = ~((sum & 0xffff) + (sum >> 16));
	mac(at, next);
	mac(at + 6, from);
	at[12] = 8, at[13] = 0;
	memcpy(at + 14, &ip, 20);
	memcpy(at + 34, &udp, 8);
}

int main(int argc, char **argv)
{
	int packet = argc > 1 && !strcmp(argv[1], "packet"), targets = argc == 11 ? atoi(argv[5]) : 0, ports = targets ? atoi(argv[6]) : 0;
	unsigned long sent = 0, round = 0;

	if (targets < 1 || targets > BATCH || ports < 1 || ports > MAX_PORTS) {
		fprintf(stderr, "usage: send udp|packet SOURCE ADDRESS FIRST_PORT TARGETS(1 to %d) PORTS(1 to %d) SECONDS INTERFACE SOURCE_MAC NEXT_MAC\n", BATCH, MAX_PORTS);
		return 2;
	}
	in_addr_t source = inet_addr(argv[2]), dest = inet_addr(argv[3]);
	for (int i = 0; i < ports; i++)
		fds[i] = udp_socket(source, FIRST_SOURCE_PORT + i);
	int frames = packet ? packet_socket(argv[8]) : -1, batch = packet ? BATCH : targets;
	for (int i = 0; i < BATCH; i++) {
		int port = atoi(argv[4]) + i % targets;

		frame(out[i], source, dest, port, argv[9], argv[10]);
		memcpy(out[i] + HEADERS + 12, "\x00\x01\x00\x01", 4); // Error Estimate, SSID
		memcpy(out[i] + HEADERS + 44, "\x80\x04\x00\x04", 4); // Class of Service
		memcpy(out[i] + HEADERS + 52, "\x80\x05\x00\x0c", 4); // Direct Measurement
		to[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = dest};
		iov[i] = packet ? (struct iovec){out[i], HEADERS + SIZE} : (struct iovec){out[i] + HEADERS, SIZE};
		msgs[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
		if (!packet)
			msgs[i].msg_hdr.msg_name = &to[i], msgs[i].msg_hdr.msg_namelen = sizeof(to[i]);
	}
	double end = seconds(CLOCK_MONOTONIC) + atof(argv[7]);
	for (; seconds(CLOCK_MONOTONIC) < end; round++)
		for (unsigned int k = 0; k < (unsigned int)(ports * targets); k += batch) {
			for (int i = 0; i < batch; i++) {
				unsigned int seq = htonl(round);
				unsigned short from = htons(FIRST_SOURCE_PORT + (k + i) / targets % ports);

				memcpy(out[i] + HEADERS, &seq, 4);
				memcpy(out[i] + 34, &from, 2);
			}
			int n = sendmmsg(packet ? frames : fds[k / targets], msgs, batch, MSG_DONTWAIT);

			sent += n > 0 ? n : 0;
		}
	printf("%lu %.6f\n", sent, seconds(CLOCK_PROCESS_CPUTIME_ID));
	return 0;
}
