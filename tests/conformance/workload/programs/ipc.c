#include "facts.h"
#include <mqueue.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static void sysv(void) {
    int shm = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    char *memory = shmat(shm, NULL, 0);
    fact("shared memory", memory != (void *)-1);
    if (fork() == 0) {
        strcpy(memory, "child");
        _exit(0);
    }
    wait(NULL);
    fact("written by the child", strcmp(memory, "child") == 0);
    fact("shared memory removed", shmctl(shm, IPC_RMID, NULL));
    int queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    struct { long type; char text[8]; } message = {7, "queued"};
    fact("message sent", msgsnd(queue, &message, 8, 0));
    fact("message of another type", msgrcv(queue, &message, 8, 8, IPC_NOWAIT));
    fact("message received", msgrcv(queue, &message, 8, 7, 0));
    msgctl(queue, IPC_RMID, NULL);
    int semaphores = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
    fact("semaphore would block", semop(semaphores, &(struct sembuf){0, -1, IPC_NOWAIT}, 1));
    fact("semaphore raised", semop(semaphores, &(struct sembuf){0, 1, 0}, 1));
    fact("semaphore taken", semop(semaphores, &(struct sembuf){0, -1, IPC_NOWAIT}, 1));
    semctl(semaphores, 0, IPC_RMID);
}

static void posix(void) {
    struct mq_attr sizes = {.mq_maxmsg = 4, .mq_msgsize = 16};
    mqd_t queue = mq_open("/facts", O_CREAT | O_RDWR | O_EXCL | O_NONBLOCK, 0600, &sizes);
    fact("message queue", queue >= 0 ? 1 : -1);
    fact("queue send", mq_send(queue, "ping", 4, 1));
    char text[16];
    fact("queue receive", mq_receive(queue, text, 16, NULL));
    fact("queue empty", mq_receive(queue, text, 16, NULL));
    fact("queue unlink", mq_unlink("/facts"));
    sem_t *semaphore = sem_open("/facts", O_CREAT | O_EXCL, 0600, 1);
    fact("named semaphore", semaphore != SEM_FAILED);
    fact("taken", sem_trywait(semaphore));
    fact("taken twice", sem_trywait(semaphore));
    fact("semaphore unlink", sem_unlink("/facts"));
    int memory = shm_open("/facts", O_CREAT | O_RDWR | O_EXCL, 0600);
    fact("shared memory object", memory >= 0);
    fact("sized", ftruncate(memory, 1 << 16));
    fact("shared memory unlink", shm_unlink("/facts"));
}

static void descriptors(void) {
    int event = eventfd(3, EFD_NONBLOCK);
    uint64_t value;
    fact("eventfd", read(event, &value, 8) == 8 ? (long)value : -1);
    fact("eventfd empty", read(event, &value, 8));
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec soon = {.it_value = {.tv_nsec = 1000000}};
    fact("timerfd", timerfd_settime(timer, 0, &soon, NULL));
    fact("timerfd fires", read(timer, &value, 8) == 8 ? (long)value : -1);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, 0);
    kill(getpid(), SIGUSR1);
    struct signalfd_siginfo info;
    fact("signalfd", read(signals, &info, sizeof info) == sizeof info ? (long)info.ssi_signo : -1);
    int poll = epoll_create1(0), ends[2];
    fact("pipe", pipe2(ends, O_CLOEXEC | O_NONBLOCK));
    fact("pipe empty", read(ends[0], &value, 8));
    epoll_ctl(poll, EPOLL_CTL_ADD, ends[0], &(struct epoll_event){.events = EPOLLIN});
    struct epoll_event got;
    fact("epoll quiet", epoll_wait(poll, &got, 1, 0));
    fact("pipe written", write(ends[1], "x", 1));
    fact("epoll awake", epoll_wait(poll, &got, 1, 1000));
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    fact("broken pipe", write(ends[1], "x", 1));
    fact("memfd", syscall(SYS_memfd_create, "facts", 0) >= 0);
    fact("pidfd", syscall(SYS_pidfd_open, getpid(), 0) >= 0);
    fact("pipe capacity", fcntl(ends[1], F_GETPIPE_SZ));
}

int main(void) {
    sysv();
    posix();
    descriptors();
    return 0;
}
