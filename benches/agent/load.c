// Load for the agent: load KIND SECONDS CPU [CALLS-PER-SECOND]. Prints the number of events made.
//   getppid   the cheapest call there is
//   open      opens of a file that is not there, with a path
//   mixed     reads, opens, connections that are refused, and now and then a program
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static long refused(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	connect(s, (struct sockaddr *)&to, sizeof(to));
	close(s);
	return 1;
}

static long program(void)
{
	char *argv[] = { "/bin/true", NULL }, *env[] = { NULL };
	pid_t pid;
	if (posix_spawn(&pid, argv[0], NULL, NULL, argv, env) == 0)
		waitpid(pid, NULL, 0);
	return 1;
}

int main(int argc, char **argv)
{
	const char *kind = argc > 1 ? argv[1] : "getppid";
	double end = now() + (argc > 2 ? atof(argv[2]) : 10);
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET(argc > 3 ? atoi(argv[3]) : 0, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	int zero = open("/dev/zero", O_RDONLY);
	char buffer[64];
	double rate = argc > 4 ? atof(argv[4]) : 0, begun = now();
	long count = 0, connects = 0, programs = 0;
	while (now() < end) {
		// Ahead of the rate: it waits without a call.
		if (rate && count > (now() - begun) * rate)
			continue;
		for (int i = 0; i < 256; i++) {
			if (*kind == 'g') {
				syscall(SYS_getppid);
			} else if (*kind == 'o' || i % 8 == 0) {
				open("/usr/share/nowhere/include/file.h", O_RDONLY);
			} else if (read(zero, buffer, sizeof(buffer)) < 0) {
				return 1;
			}
			count++;
		}
		if (*kind == 'm') {
			connects += refused();
			if (connects % 64 == 0)
				programs += program();
		}
	}
	printf("%ld %ld %ld\n", count, connects, programs);
	return 0;
}
