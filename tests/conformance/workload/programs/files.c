#include "facts.h"
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

static void creation(void) {
    int fd = open("a", O_CREAT | O_RDWR | O_EXCL, 0640);
    fact("create", fd >= 0);
    fact("create again exclusively", open("a", O_CREAT | O_EXCL | O_RDWR, 0600));
    fact("write", write(fd, "hello world", 11));
    struct stat st;
    fact("stat", fstat(fd, &st));
    fact("mode", st.st_mode & 07777);
    fact("size", st.st_size);
    fact("link", link("a", "b"));
    stat("a", &st);
    fact("links", (long)st.st_nlink);
    fact("symlink", symlink("a", "s"));
    char target[16];
    fact("readlink", readlink("s", target, sizeof target));
    fact("open nofollow", open("s", O_RDONLY | O_NOFOLLOW));
    fact("open directory", open("a", O_RDONLY | O_DIRECTORY));
    fact("mkdir", mkdir("d", 0755));
    fact("rename over a directory", rename("a", "d"));
    fact("rmdir a file", rmdir("a"));
    fact("unlink a directory", unlink("d"));
    fact("exchange", syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "d", 2));
    fact("exchange back", syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "d", 2));
    fact("rename noreplace", syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 1));
    fact("mkfifo", mkfifo("f", 0600));
    fact("fifo without reader", open("f", O_WRONLY | O_NONBLOCK));
    int anonymous = open(".", O_TMPFILE | O_RDWR, 0600);
    fact("anonymous file", anonymous >= 0);
    close(fd);
}

static void contents(void) {
    int fd = open("sparse", O_CREAT | O_RDWR, 0600), other = open("copy", O_CREAT | O_RDWR, 0600);
    fact("far write", pwrite(fd, "x", 1, 1 << 20));
    fact("first hole", lseek(fd, 0, SEEK_HOLE));
    fact("first data", lseek(fd, 0, SEEK_DATA));
    fact("fallocate", fallocate(fd, 0, 0, 8192));
    fact("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
    fact("truncate", ftruncate(fd, 100));
    fact("pread past the end", pread(fd, (char[1]){0}, 1, 200));
    fact("append", write(open("copy", O_WRONLY | O_APPEND), "12345", 5));
    lseek(fd, 0, SEEK_SET);
    fact("copy_file_range", copy_file_range(fd, NULL, other, NULL, 100, 0));
    lseek(fd, 0, SEEK_SET);
    fact("sendfile", sendfile(other, fd, NULL, 100));
    struct iovec parts[2] = {{"ab", 2}, {"cde", 3}};
    fact("writev", pwritev(other, parts, 2, 0));
    char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
    memcpy(shared, "mapped", 6);
    char back[6];
    pread(other, back, 6, 0);
    fact("shared map reaches the file", memcmp(back, "mapped", 6) == 0);
    fact("write to a read-only descriptor", write(open("copy", O_RDONLY), "x", 1));
}

static void locks(void) {
    int fd = open("locked", O_CREAT | O_RDWR, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
    fact("record lock", fcntl(fd, F_SETLK, &lock));
    fact("flock", flock(fd, LOCK_EX));
    if (fork() == 0) {
        int own = open("locked", O_RDWR);
        struct flock mine = lock;
        fact("record lock of another process", fcntl(own, F_SETLK, &mine));
        mine.l_start = 10;
        fact("record lock beside it", fcntl(own, F_SETLK, &mine));
        mine = lock;
        fcntl(own, F_GETLK, &mine);
        fact("holder is the parent", mine.l_pid == getppid());
        fact("flock of another process", flock(own, LOCK_EX | LOCK_NB));
        mine = (struct flock){.l_type = F_WRLCK, .l_start = 100, .l_len = 1};
        fact("open file description lock", fcntl(own, F_OFD_SETLK, &mine));
        _exit(0);
    }
    wait(NULL);
    fact("lease", fcntl(fd, F_SETLEASE, F_WRLCK));
}

static void watching(void) {
    int in = inotify_init1(IN_NONBLOCK);
    fact("watch", inotify_add_watch(in, ".", IN_CREATE | IN_DELETE));
    close(open("seen", O_CREAT | O_WRONLY, 0600));
    unlink("seen");
    char buffer[4096];
    long got = read(in, buffer, sizeof buffer), events = 0;
    for (long at = 0; at < got; events++)
        at += (long)(sizeof(struct inotify_event) + ((struct inotify_event *)(buffer + at))->len);
    fact("events", events);
}

int main(void) {
    char place[] = "/tmp/factsXXXXXX";
    umask(027);
    if (!mkdtemp(place) || chdir(place))
        return 1;
    creation();
    contents();
    locks();
    watching();
    fact("root is read-only", open("/usr/new", O_CREAT | O_WRONLY, 0600));
    return 0;
}
