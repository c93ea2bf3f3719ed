// Round trips of single requests at a fixed pace, as a user of plain sockets sees them: the reflector's own
// time is in them, so that what batching costs would show.
// usage: rtt ADDRESS PORT COUNT INTERVAL_US
// prints: median and 99th percentile in µs, and requests without a reply
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#define SIZE 68

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static uint32_t number(const char *p, int at)
{
	uint32_t v;
	memcpy(&v, p + at, 4);
	return v;
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return fprintf(stderr, "usage: rtt ADDRESS PORT COUNT INTERVAL_US\n"), 2;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
	struct timeval wait = {.tv_usec = 200000};
	int count = atoi(argv[3]), n = 0, fd = socket(AF_INET, SOCK_DGRAM, 0);
	int64_t *rtt = calloc(count, sizeof(*rtt)), due = now();
	char p[SIZE] = {0}, r[2048];

	prctl(PR_SET_TIMERSLACK, 1); // ns
	inet_pton(AF_INET, argv[1], &to.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return perror("connect"), 1;
	memcpy(p + 12, "\x00\x01\x00\x01", 4); // Error Estimate, SSID
	for (int i = 0; i < count; i++, due += atoi(argv[4]) * 1000ll) {
		struct timespec t = {due / 1000000000, due % 1000000000};
		uint32_t seq = htonl(i);
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		memcpy(p, &seq, 4);
		memset(p + 44, 0, SIZE - 44);
		int64_t sent = now();
		send(fd, p, SIZE, 0);
		ssize_t got;
		// An echo has the number in front, a STAMP reply at octet 24 (RFC 8762 section 4.3.1).
		while ((got = recv(fd, r, sizeof(r), 0)) >= 28 && number(r, 0) != seq && number(r, 24) != seq)
			;
		if (got >= 28)
			rtt[n++] = now() - sent;
	}
	qsort(rtt, n, sizeof(*rtt), ascending);
	if (n)
		printf("%.1f %.1f %d\n", rtt[n / 2] / 1e3, rtt[n * 99 / 100] / 1e3, count - n);
	return n ? 0 : 1;
}
