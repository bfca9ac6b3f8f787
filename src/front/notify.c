/* notify -- see notify.h. */
#include "front/notify.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct notify {
    struct sockaddr_un address;
    socklen_t length;           /* 0: nobody listens */
    int fd;
    bool ready;
    int64_t alive_every_ns, alive_ns;
};

struct notify *notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET"), *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    struct notify *n = MEM_NEW(struct notify);
    n->fd = -1;
    n->address.sun_family = AF_UNIX;
    size_t len = path ? strlen(path) : 0;
    if (len > 1 && len < sizeof n->address.sun_path && (path[0] == '/' || path[0] == '@')) {
        memcpy(n->address.sun_path, path, len);
        if (path[0] == '@')
            n->address.sun_path[0] = '\0'; /* an abstract one */
        n->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
        n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    }
    if (usec && (!pid || strtol(pid, NULL, 10) == getpid()))
        n->alive_every_ns = strtoll(usec, NULL, 10) * 1000 / 2;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return n;
}

void notify_close(struct notify *n)
{
    if (!n)
        return;
    if (n->fd >= 0)
        close(n->fd);
    mem_free(n);
}

/* A manager that does not read is none of our worries. */
static void send_text(const struct notify *n, const char *text)
{
    const struct sockaddr *to = (const struct sockaddr *)&n->address;
    if (n->fd >= 0 && sendto(n->fd, text, strlen(text), MSG_NOSIGNAL, to, n->length) < 0)
        return;
}

void notify_ready(struct notify *n)
{
    if (!n->ready)
        send_text(n, "READY=1\nSTATUS=serving\n");
    n->ready = true;
}

void notify_status(struct notify *n, const char *text)
{
    char line[300];
    snprintf(line, sizeof line, "STATUS=%.200s\n", text);
    send_text(n, line);
}

void notify_stopping(struct notify *n)
{
    send_text(n, "STOPPING=1\nSTATUS=running requests may finish\n");
}

void notify_alive(struct notify *n)
{
    int64_t now = clock_mono_ns();
    if (!n->alive_every_ns || now - n->alive_ns < n->alive_every_ns)
        return;
    n->alive_ns = now;
    send_text(n, "WATCHDOG=1\n");
}
