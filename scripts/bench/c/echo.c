// A plain UDP echo: recvmmsg, sendmmsg, no guard at all. The measure for what the sockets of a core can do.
// usage: echo PORT BATCH
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define MAX 64
#define LEN 2048

static struct mmsghdr msgs[MAX];
static struct iovec iov[MAX];
static struct sockaddr_in from[MAX];
static char buf[MAX][LEN];

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	int size = 4 << 20, batch = argc == 3 ? atoi(argv[2]) : 0;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (batch < 1 || batch > MAX) {
		fprintf(stderr, "usage: echo PORT BATCH (1 to %d)\n", MAX);
		return 2;
	}
	at.sin_port = htons(atoi(argv[1]));
	// As large as the reflector's, or the queue would be compared instead.
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		perror("bind");
		return 1;
	}
	for (;;) {
		for (int i = 0; i < batch; i++) {
			iov[i] = (struct iovec){buf[i], LEN};
			msgs[i].msg_hdr = (struct msghdr){
				.msg_name = &from[i], .msg_namelen = sizeof(from[i]),
				.msg_iov = &iov[i], .msg_iovlen = 1};
		}
		int n = recvmmsg(fd, msgs, batch, MSG_WAITFORONE, NULL);
		if (n < 0) {
			perror("recvmmsg");
			return 1;
		}
		for (int i = 0; i < n; i++)
			iov[i].iov_len = msgs[i].msg_len;
		for (int i = 0; i < n;) {
			int sent = sendmmsg(fd, msgs + i, n - i, 0);
			i += sent > 0 ? sent : 1; // one that cannot be sent is skipped
		}
	}
}
