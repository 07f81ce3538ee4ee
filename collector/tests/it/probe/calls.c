// Performs each kind of call once with known arguments, in the folder that it is started in.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define call(name, ...) syscall(SYS_##name, ##__VA_ARGS__)

static void files(void)
{
	int dir = open(".", O_RDONLY | O_DIRECTORY);
	call(symlink, "/etc/shadow", "sym1");
	call(symlinkat, "../up", dir, "sym2");
	int fd = open("file", O_CREAT | O_RDWR, 0600);
	call(link, "file", "hard1");
	call(linkat, dir, "file", dir, "hard2", 0);
	call(mkdir, "folder1", 0751);
	call(mkdirat, dir, "folder2", 0700);
	call(rmdir, "folder2");
	call(mknod, "fifo", S_IFIFO | 0600, 0);
	call(chmod, "file", 04755);
	call(fchmodat, dir, "file", 02755);
	call(fchmod, fd, 0640);
	call(chown, "nobody", 12, 34);
	call(dup, fd);
	call(dup2, fd, 100);
	call(dup3, fd, 101, O_CLOEXEC);
	call(fcntl, fd, F_DUPFD, 200);
	call(mount, "none", "nowhere", "tmpfs", MS_RDONLY, NULL);
	call(umount2, "nowhere", MNT_DETACH);
	call(pwrite64, fd, "written by the test", 19, 0);
	call(chdir, "folder1");
	call(fchdir, dir);
	call(chroot, "nowhere");
}

static void sockets(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, from;
	socklen_t len = sizeof(to);
	int server = call(socket, AF_INET, SOCK_DGRAM, 0);
	call(bind, server, &to, len);
	int client = call(socket, AF_INET, SOCK_DGRAM, 0);
	call(bind, client, &to, len);
	getsockname(client, (struct sockaddr *)&from, &len);
	getsockname(server, (struct sockaddr *)&to, &len);
	printf("%d %d\n", ntohs(to.sin_port), ntohs(from.sin_port));
	fflush(stdout);
	char buffer[100];
	call(sendto, client, "a datagram", 10, 0, &to, len);
	call(recvfrom, server, buffer, sizeof(buffer), 0, &from, &len);
	struct iovec part = { "a message", 9 };
	struct msghdr message = { .msg_name = &to, .msg_namelen = len, .msg_iov = &part, .msg_iovlen = 1 };
	call(sendmsg, client, &message, 0);
	struct iovec room = { buffer, sizeof(buffer) };
	struct msghdr got = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &room, .msg_iovlen = 1 };
	call(recvmsg, server, &got, 0);
	int stream = call(socket, AF_INET, SOCK_STREAM, 0);
	call(listen, stream, 7);
	call(socket, AF_PACKET, SOCK_RAW, 3);
	// What passes on connected streams is not told unless it is asked for.
	int pair[2];
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	call(sendto, pair[0], "quiet", 5, 0, NULL, 0);
}

struct how {
	unsigned long long flags, mode, resolve;
};

// What was not done above, and what fails.
static void more_files(void)
{
	int dir = open(".", O_RDONLY | O_DIRECTORY);
	struct how how = { .flags = O_RDONLY };
	call(open, "file", O_RDONLY | O_CLOEXEC);
	call(open, "absent", O_RDONLY);
	call(creat, "made", 0640);
	call(creat, "absent/made", 0640);
	call(openat2, dir, "file", &how, sizeof(how));
	call(openat2, dir, "absent", &how, sizeof(how));
	call(rename, "made", "moved");
	call(rename, "absent", "moved");
	call(renameat, dir, "moved", dir, "moved2");
	call(renameat, dir, "absent", -1, "moved2");
	call(renameat2, dir, "moved2", dir, "moved3", 1 /* RENAME_NOREPLACE */);
	call(renameat2, dir, "file", dir, "moved3", 1);
	call(unlink, "moved3");
	call(unlink, "absent");
	call(unlinkat, dir, "folder1", AT_REMOVEDIR);
	call(unlinkat, dir, "absent", 0);
	call(symlink, "anything", "sym1");
	call(symlinkat, "anything", -1, "sym3");
	call(link, "absent", "hard3");
	call(linkat, -1, "file", dir, "hard3", 0);
	call(mkdir, "file", 0700);
	call(mkdirat, -1, "folder3", 0700);
	call(rmdir, "file");
	call(chmod, "absent", 0600);
	call(fchmodat, dir, "absent", 0600);
	call(fchmod, -1, 0600);
	call(dup, -1);
	call(dup2, -1, 5);
	call(dup3, dir, dir, 0);
	call(open, "n\xff\xfe", O_RDONLY);
	// A folder that is gone: what is named in it is named from where it was.
	mkdir("gone", 0700);
	call(chdir, "gone");
	rmdir("../gone");
	call(open, "inside", O_RDONLY);
	call(fchdir, dir);
}

static void more_sockets(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_un path = { .sun_family = AF_UNIX, .sun_path = "a.sock" };
	struct sockaddr *ends[] = { (void *)&to, (void *)&to6, (void *)&path };
	socklen_t lens[] = { sizeof(to), sizeof(to6), sizeof(path) };
	int families[] = { AF_INET, AF_INET6, AF_UNIX };
	for (int i = 0; i < 3; i++) {
		int listener = call(socket, families[i], SOCK_STREAM | SOCK_NONBLOCK, 0);
		call(bind, listener, ends[i], lens[i]);
		call(listen, listener, 4);
		if (i < 2)
			getsockname(listener, ends[i], &lens[i]);
		call(accept, listener, NULL, NULL); // nobody is there
		int client = socket(families[i], SOCK_STREAM, 0);
		call(connect, client, ends[i], lens[i]);
		int got = i ? call(accept4, listener, NULL, NULL, SOCK_CLOEXEC) : call(accept, listener, NULL, NULL);
		close(got);
		close(client);
		close(listener);
		client = socket(families[i], SOCK_STREAM, 0);
		call(connect, client, ends[i], lens[i]); // nobody is there any more
		close(client);
	}
	call(accept4, -1, NULL, NULL, 0);
	call(bind, -1, &to, sizeof(to));
	call(listen, -1, 1);
	call(socket, 9999, SOCK_STREAM, 0);
	int datagrams = socket(AF_INET, SOCK_DGRAM, 0);
	char buffer[10];
	call(sendto, datagrams, "to nobody", 9, 0, NULL, 0);
	call(recvfrom, datagrams, buffer, sizeof(buffer), MSG_DONTWAIT, NULL, NULL);
	struct msghdr none = {};
	call(sendmsg, datagrams, &none, 0);
	call(recvmsg, datagrams, &none, MSG_DONTWAIT);
}

static void more_rights(void)
{
	char *nothing[] = { "x", NULL };
	struct {
		unsigned type, key, value, entries;
		char rest[100];
	} map = { 2, 4, 4, 1 };
	call(execve, "absent", nothing, nothing + 1);
	call(execveat, AT_FDCWD, "absent/too", nothing, nothing + 1, 0);
	call(setuid, -1);
	call(unshare, 1);
	call(userfaultfd, 0x7f);
	call(bpf, 0 /* BPF_MAP_CREATE */, &map, sizeof(map));
}

static void rights(void)
{
	call(prctl, PR_SET_NAME, "renamed");
	call(setsid);
	call(setgid, 0);
	call(setuid, 0);
	call(setresuid, 0, 0, -1);
	call(unshare, 0x4000000 /* CLONE_NEWUTS */);
	call(setns, -1, 0x40000000 /* CLONE_NEWNET */);
	call(ptrace, PTRACE_ATTACH, 1 << 30, 0, 0);
	call(bpf, 99, NULL, 0);
	call(userfaultfd, O_CLOEXEC);
	call(finit_module, -1, "an=option", 0);
	call(init_module, "", 0, "another=option");
	call(delete_module, "no_such_module", 0);
	call(io_uring_setup, 0, NULL);
	call(process_vm_writev, 0x7fffffffL, NULL, 1L, NULL, 1L, 0L);
	call(kill, getpid(), 0);
	call(getppid);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return 0;
	// Descriptors that the test was started with would move the numbers of ours.
	close_range(3, ~0U, 0);
	files();
	sockets();
	more_files();
	more_sockets();
	more_rights();
	rights();
	// At last it becomes a program that lies in no file system.
	int memory = call(memfd_create, "in-memory", 0);
	int self = open("/proc/self/exe", O_RDONLY);
	char chunk[4096];
	for (ssize_t n; (n = read(self, chunk, sizeof(chunk))) > 0;)
		if (write(memory, chunk, n) != n)
			return 1;
	char *arguments[] = { "again", "x", NULL }, *environment[] = { "ONE=1", "TWO=2", NULL };
	call(execveat, memory, "", arguments, environment, AT_EMPTY_PATH);
	return 2;
}
