#include "facts.h"
#include <linux/futex.h>
#include <sched.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <time.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static __thread int own;
static long total, waiting;

static void *work(void *argument) {
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&mutex);
        total++;
        own++;
        pthread_mutex_unlock(&mutex);
    }
    (void)argument;
    return (void *)(long)own;
}

static void *wait_turn(void *argument) {
    pthread_mutex_lock(&mutex);
    waiting = 1;
    while (waiting != 2)
        pthread_cond_wait(&turn, &mutex);
    pthread_mutex_unlock(&mutex);
    return argument;
}

static void threads(void) {
    pthread_t all[64];
    long sum = 0;
    pthread_barrier_init(&barrier, NULL, 64);
    for (int i = 0; i < 64; i++)
        pthread_create(&all[i], NULL, work, NULL);
    for (int i = 0; i < 64; i++) {
        void *got;
        pthread_join(all[i], &got);
        sum += (long)got;
    }
    fact("sixty-four threads", total);
    fact("thread-local sums", sum);
    pthread_t one;
    pthread_create(&one, NULL, wait_turn, NULL);
    for (int seen = 0; !seen;) {
        pthread_mutex_lock(&mutex);
        seen = waiting == 1;
        if (seen)
            waiting = 2;
        pthread_mutex_unlock(&mutex);
    }
    pthread_cond_signal(&turn);
    fact("condition", pthread_join(one, NULL));
    struct timespec soon = {.tv_nsec = 1000000};
    fact("futex times out", syscall(SYS_futex, &(int){1}, FUTEX_WAIT, 1, &soon, NULL, 0));
    fact("futex differs", syscall(SYS_futex, &(int){1}, FUTEX_WAIT, 2, NULL, NULL, 0));
}

static void *hold(void *robust) {
    pthread_mutex_lock(robust);
    return NULL;
}

static void robust(void) {
    pthread_mutexattr_t how;
    pthread_mutexattr_init(&how);
    pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_t left;
    pthread_mutex_init(&left, &how);
    pthread_t one;
    pthread_create(&one, NULL, hold, &left);
    pthread_join(one, NULL);
    fact("owner died", pthread_mutex_lock(&left) == EOWNERDEAD);
}

static int child(void *argument) {
    return *(int *)argument;
}

static void processes(void) {
    int status;
    pid_t pid = fork();
    if (pid == 0)
        abort();
    waitpid(pid, &status, 0);
    fact("abort signal", WTERMSIG(status));
    static char stack[65536];
    pid = clone(child, stack + sizeof stack, SIGCHLD | CLONE_VM | CLONE_VFORK, &(int){9});
    waitpid(pid, &status, 0);
    fact("clone exit", WEXITSTATUS(status));
    char *argv[] = {"sh", "-c", "exit 5", NULL}, *none[] = {NULL};
    posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, none);
    waitpid(pid, &status, 0);
    fact("spawn exit", WEXITSTATUS(status));
    fact("no child left", waitpid(-1, &status, WNOHANG));
    fact("exec of nothing", execve("/nothing", argv, none));
    fact("exec of a directory", execve("/tmp", argv, none));
    pid = fork();
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        _exit(3);
    }
    waitpid(pid, &status, 0);
    fact("traced child stops", WIFSTOPPED(status) ? WSTOPSIG(status) : -1);
    fact("continued", ptrace(PTRACE_CONT, pid, 0, 0));
    waitpid(pid, &status, 0);
    fact("traced child exits", WEXITSTATUS(status));
}

static void memory(void) {
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fact("protect", mprotect(page, 4096, PROT_NONE));
    if (fork() == 0) {
        page[0] = 1;
        _exit(0);
    }
    int status;
    wait(&status);
    fact("fault signal", WTERMSIG(status));
    fact("grow", mremap(page + 4096, 4096, 1 << 20, MREMAP_MAYMOVE) != MAP_FAILED);
    fact("executable memory", mmap(NULL, 4096, PROT_READ | PROT_EXEC | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    fact("advise", madvise(page + 4096, 0, MADV_DONTNEED));
    fact("unmap misaligned", munmap(page + 1, 10));
    fact("lock a page", mlock(page, 0));
}

static void times(void) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    clock_gettime(CLOCK_MONOTONIC, &b);
    fact("time passes", (b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec >= 2000000);
    fact("clock set", clock_settime(CLOCK_MONOTONIC, &a));
    timer_t timer;
    fact("posix timer", timer_create(CLOCK_MONOTONIC, NULL, &timer));
    cpu_set_t cpus;
    fact("affinity", sched_getaffinity(0, sizeof cpus, &cpus) || CPU_COUNT(&cpus) < 1);
    fact("name", prctl(PR_SET_NAME, "facts"));
}

int main(void) {
    threads();
    robust();
    processes();
    memory();
    times();
    return 0;
}
