#include "facts.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

static int listener(int family, struct sockaddr *address, socklen_t *length) {
    int fd = socket(family, SOCK_STREAM, 0);
    if (bind(fd, address, *length) || listen(fd, 8) || getsockname(fd, address, length))
        return -1;
    return fd;
}

static void talk(const char *name, int family, struct sockaddr *address, socklen_t length) {
    char label[80], text[16] = {0};
    int server = listener(family, address, &length);
    snprintf(label, sizeof label, "%s listens", name);
    fact(label, server >= 0 ? 1 : -1);
    int client = socket(family, SOCK_STREAM, 0);
    snprintf(label, sizeof label, "%s connects", name);
    fact(label, connect(client, address, length));
    int peer = accept(server, NULL, NULL);
    write(client, "hello", 5);
    shutdown(client, SHUT_WR);
    snprintf(label, sizeof label, "%s hears", name);
    fact(label, recv(peer, text, sizeof text, MSG_WAITALL));
    write(peer, "bye", 3);
    close(peer);
    snprintf(label, sizeof label, "%s half-closed still hears", name);
    fact(label, recv(client, text, sizeof text, MSG_WAITALL));
    close(client);
    close(server);
    snprintf(label, sizeof label, "%s refused once closed", name);
    fact(label, connect(socket(family, SOCK_STREAM, 0), address, length));
}

static void passing(void) {
    int ends[2], file = open("/etc/hosts", O_RDONLY);
    fact("socketpair", socketpair(AF_UNIX, SOCK_DGRAM, 0, ends));
    char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &file, sizeof file);
    fact("descriptor sent", sendmsg(ends[0], &message, 0));
    fact("descriptor received", recvmsg(ends[1], &message, MSG_CMSG_CLOEXEC));
    int got;
    memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof got);
    struct stat a, b;
    fstat(file, &a);
    fact("it is the same file", fstat(got, &b) == 0 && a.st_ino == b.st_ino && got != file);
    struct ucred who;
    socklen_t length = sizeof who;
    fact("peer credentials", getsockopt(ends[0], SOL_SOCKET, SO_PEERCRED, &who, &length));
    fact("peer is me", who.pid == getpid());
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    talk("tcp4", AF_INET, (struct sockaddr *)&four, sizeof four);
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    talk("tcp6", AF_INET6, (struct sockaddr *)&six, sizeof six);
    struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "/tmp/facts.sock"};
    talk("unix", AF_UNIX, (struct sockaddr *)&path, sizeof path);
    struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0facts"};
    talk("abstract", AF_UNIX, (struct sockaddr *)&abstract, sizeof(sa_family_t) + 6);
    passing();
    int datagrams = socket(AF_INET, SOCK_DGRAM, 0);
    four.sin_port = 0;
    socklen_t length = sizeof four;
    fact("udp bind", bind(datagrams, (struct sockaddr *)&four, sizeof four));
    getsockname(datagrams, (struct sockaddr *)&four, &length);
    fact("udp send", sendto(datagrams, "dgram", 5, 0, (struct sockaddr *)&four, length));
    fact("udp receive", recv(datagrams, (char[8]){0}, 8, 0));
    struct sockaddr_in low = {.sin_family = AF_INET, .sin_port = htons(80), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    fact("port 80", bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&low, sizeof low));
    int one = 1;
    fact("nodelay", setsockopt(socket(AF_INET, SOCK_STREAM, 0), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    return 0;
}
