/* A fact is one line: a name and what Linux answered. The suite compares the lines with those of the bare kernel. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static inline void fact(const char *name, long value) {
    if (value < 0)
        printf("%s %s\n", name, strerrorname_np(errno));
    else
        printf("%s %ld\n", name, value);
    fflush(stdout);
}
