/* nats_server -- a real nats-server for a test: on a free port of the loopback, killed, stopped and started again. */
#ifndef NATS_SERVER_H
#define NATS_SERVER_H
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct nats_server {
    pid_t pid;
    int port;
    char dir[64], url[64];
};

static const char *nats_server_program(void)
{
    static const char *const at[] = { "/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server" };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        if (!access(at[i], X_OK))
            return at[i];
    return NULL;
}

static int nats_dial(int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(s, (struct sockaddr *)&a, sizeof a) == 0)
        return s;
    close(s);
    return -1;
}

static int nats_free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof a;
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int port = bind(s, (struct sockaddr *)&a, sizeof a) || getsockname(s, (struct sockaddr *)&a, &n)
                   ? -1 : ntohs(a.sin_port);
    close(s);
    return port;
}

/* Starts it on s->port; true when it answers within ten seconds. */
static bool nats_server_run(struct nats_server *s)
{
    char file[96], log[96];
    snprintf(file, sizeof file, "%s/nats.conf", s->dir);
    snprintf(log, sizeof log, "%s/log", s->dir);
    s->pid = fork();
    if (s->pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(nats_server_program(), "nats-server", "-c", file, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 1000; i++) {
        int fd = nats_dial(s->port);
        if (fd >= 0) {
            close(fd);
            return true;
        }
        usleep(10000);
    }
    printf("# nats-server does not answer on port %d; see %s\n", s->port, log);
    return false;
}

/* config: lines beside the address, @ stands for the server's folder; NULL: none. */
static bool nats_server_start(struct nats_server *s, const char *config)
{
    *s = (struct nats_server){ .port = nats_free_port() };
    snprintf(s->dir, sizeof s->dir, "/tmp/tw_nats_XXXXXX");
    if (!mkdtemp(s->dir))
        return false;
    snprintf(s->url, sizeof s->url, "nats://127.0.0.1:%d", s->port);
    char file[96];
    snprintf(file, sizeof file, "%s/nats.conf", s->dir);
    FILE *f = fopen(file, "w");
    if (!f)
        return false;
    fprintf(f, "listen: \"127.0.0.1:%d\"\n", s->port);
    for (const char *p = config ? config : ""; *p; p++)
        if (*p == '@')
            fputs(s->dir, f);
        else
            fputc(*p, f);
    fclose(f);
    return nats_server_run(s);
}

static void nats_server_kill(struct nats_server *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        waitpid(s->pid, NULL, 0);
    }
    s->pid = -1;
}

static int nats_remove(const char *path)
{
    char command[128];
    pid_t pid = fork();
    snprintf(command, sizeof command, "%s", path);
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", command, (char *)NULL);
        _exit(127);
    }
    return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static void nats_server_end(struct nats_server *s)
{
    nats_server_kill(s);
    if (!strncmp(s->dir, "/tmp/tw_nats_", 13))
        nats_remove(s->dir);
}
#endif
