// A random tree of processes that fork, start programs, begin sessions, end, and leave children behind. Each says who its
// ancestors are by making a folder of that name, where none can be made: /nowhere/MARKER/PID-PARENT-GRANDPARENT-...
//   tree MARKER PROCESSES SEED COUNTER-FILE
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char **arguments;
static atomic_int *left;
static unsigned seed;

static unsigned draw(unsigned below)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % below;
}

static int parent_of(int pid)
{
	char path[64], text[512];
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	char *end = strrchr(text, ')');
	int parent = 0;
	if (end)
		sscanf(end + 1, " %*c %d", &parent);
	return parent;
}

static void chain(char *out, size_t size)
{
	int used = snprintf(out, size, "%d", getpid());
	for (int pid = getppid(); pid > 0 && used < (int)size - 16; pid = parent_of(pid))
		used += snprintf(out + used, size - used, "-%d", pid);
}

// What changed while it was told is taken back.
static void tell(void)
{
	char before[2048], after[2048], path[4096];
	chain(before, sizeof(before));
	snprintf(path, sizeof(path), "/nowhere/%s/%s", arguments[1], before);
	syscall(SYS_mkdir, path, 0);
	chain(after, sizeof(after));
	if (strcmp(before, after)) {
		snprintf(path, sizeof(path), "/nowhere/%s/void-%d", arguments[1], getpid());
		syscall(SYS_mkdir, path, 0);
	}
}

static void live(void)
{
	for (unsigned steps = 2 + draw(5); steps; steps--) {
		switch (draw(8)) {
		case 0:
			setsid();
			break;
		case 1: {
			char next[16];
			snprintf(next, sizeof(next), "%u", seed + 1);
			char *argv[] = { "tree", arguments[1], "0", next, arguments[4], NULL };
			if (atomic_load(left) > 0)
				execv("/proc/self/exe", argv);
			break;
		}
		case 2:
			usleep(draw(3000));
			break;
		case 3:
			prctl(PR_SET_CHILD_SUBREAPER, draw(2));
			break;
		default:
			if (atomic_fetch_sub(left, 1) <= 0)
				return;
			unsigned own = draw(1 << 16);
			if (fork() == 0) {
				seed = seed * 31 + own + getpid();
				tell();
				live();
				tell();
				_exit(0);
			}
		}
	}
	tell();
	// Some leave their children behind.
	if (draw(2))
		while (wait(NULL) > 0)
			;
}

int main(int argc, char **argv)
{
	arguments = argv;
	seed = atoi(argv[3]);
	int fd = open(argv[4], O_RDWR);
	left = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	int processes = atoi(argv[2]);
	if (!processes) {
		tell();
		live();
		return 0;
	}
	// The first takes over all orphans, and plants trees until as many processes were made as were asked for.
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	atomic_store(left, processes);
	while (atomic_load(left) > 0) {
		if (fork() == 0) {
			seed += getpid();
			live();
			_exit(0);
		}
		wait(NULL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	while (wait(NULL) > 0)
		;
	return 0;
}
