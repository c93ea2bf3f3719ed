// Wakes up at a fixed pace and does nothing else: what a timer costs on this machine.
// usage: nap INTERVAL_US
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

int main(int argc, char **argv)
{
	long step = argc == 2 ? atol(argv[1]) * 1000 : 0; // ns
	struct timespec t;

	if (step < 1 || step >= 1000000000)
		return 2;
	prctl(PR_SET_TIMERSLACK, 1); // ns
	clock_gettime(CLOCK_MONOTONIC, &t);
	for (;;) {
		t.tv_nsec += step;
		if (t.tv_nsec >= 1000000000) {
			t.tv_nsec -= 1000000000;
			t.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	}
}
