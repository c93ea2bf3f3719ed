// Sends requests from many source ports without waiting for replies, as fast as its core goes or at a rate: what answers
// in the kernel does so on that same core, and the time it takes shows as packets not sent.
// A port's requests leave in one call and are cut apart by the kernel (UDP_SEGMENT).
// usage: flood ADDRESS PORT SECONDS PORTS [PACKETS_PER_SECOND]
// prints: packets that left, and CPU seconds
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
#define BATCH 64
#define MAX_PORTS 256

static char out[BATCH * SIZE];

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int open_port(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0), size = SIZE, room = 4 << 20;

	if (fd < 0 || setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0) {
		perror("open port");
		exit(1);
	}
	return fd;
}

static void sleep_until(uint64_t ns)
{
	struct timespec t = {ns / 1000000000, ns % 1000000000};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	int fds[MAX_PORTS], ports = argc == 5 || argc == 6 ? atoi(argv[4]) : 0;
	double rate = argc == 6 ? atof(argv[5]) : 0;
	uint64_t sent = 0, start, end;

	if (ports < 1 || ports > MAX_PORTS) {
		fprintf(stderr, "usage: flood ADDRESS PORT SECONDS PORTS(1 to %d) [PACKETS_PER_SECOND]\n", MAX_PORTS);
		return 2;
	}
	inet_pton(AF_INET, argv[1], &to.sin_addr);
	to.sin_port = htons(atoi(argv[2]));
	for (int i = 0; i < ports; i++)
		fds[i] = open_port(&to);
	for (int i = 0; i < BATCH; i++) {
		memcpy(out + i * SIZE + 12, "\x00\x01\x00\x01", 4); // Error Estimate, SSID
		memcpy(out + i * SIZE + 44, "\x80\x04\x00\x04", 4); // Class of Service
		memcpy(out + i * SIZE + 52, "\x80\x05\x00\x0c", 4); // Direct Measurement
	}
	start = now(CLOCK_MONOTONIC);
	end = start + (uint64_t)(atof(argv[3]) * 1e9);
	for (uint32_t round = 0; now(CLOCK_MONOTONIC) < end; round++)
		for (int p = 0; p < ports; p++) {
			if (rate > 0)
				sleep_until(start + (uint64_t)(sent * (1e9 / rate)));
			for (int i = 0; i < BATCH; i++) {
				uint32_t seq = htobe32(round * BATCH + i);

				memcpy(out + i * SIZE, &seq, 4);
			}
			if (send(fds[p], out, sizeof(out), 0) == sizeof(out))
				sent += BATCH;
		}
	printf("%llu %.6f\n", (unsigned long long)sent, now(CLOCK_PROCESS_CPUTIME_ID) / 1e9);
	return 0;
}
