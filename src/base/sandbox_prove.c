/* sandbox_prove -- --air-gapped: before the filter closes, every kind of connection is tried, and each must fail in the
 * way the kernel fails when there is nowhere to go. What was tried and what came of it is the proof. */
#include "base/sandbox_impl.h"

#include "base/mem.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct attempt {
    const char *name;
    int family, type;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } to;
    socklen_t len;
};

enum { PORT = 443 };

#define V4(text, kind, address) { text, AF_INET, kind, { .v4 = { .sin_family = AF_INET, .sin_port = htons(PORT), \
                                  .sin_addr.s_addr = htonl(address) } }, sizeof(struct sockaddr_in) }

/* What comes of a try; 0: it went through. A family that the kernel lacks is no way out either. */
static int try(const struct attempt *a)
{
    int fd = socket(a->family, a->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    int why = connect(fd, &a->to.any, a->len) ? errno : 0;
    close(fd);
    return why;
}

static bool is_nowhere(int why)
{
    return why == ENETUNREACH || why == EADDRNOTAVAIL || why == EAFNOSUPPORT || why == ECONNREFUSED;
}

static enum err_code list_devices(char *out, size_t size, struct err *e)
{
    struct if_nameindex *list = if_nameindex();
    size_t n = strlen(out);
    enum err_code c = ERR_OK;
    n += (size_t)snprintf(out + n, size - n, "devices:");
    for (struct if_nameindex *i = list; !c && i && i->if_index && n < size; i++) {
        n += (size_t)snprintf(out + n, size - n, " %s (down)", i->if_name);
        if (strcmp(i->if_name, "lo")) /* that none is up was checked before */
            c = err_set(e, ERR_DENIED, "there is a network device beside lo in this process: %s", i->if_name);
    }
    if (list)
        if_freenameindex(list);
    return c;
}

enum err_code sandbox_prove(char *out, size_t size, struct err *e)
{
    struct attempt tries[] = {
        V4("tcp 192.0.2.1", SOCK_STREAM, 0xC0000201), V4("udp 192.0.2.1", SOCK_DGRAM, 0xC0000201),
        V4("tcp 127.0.0.1", SOCK_STREAM, INADDR_LOOPBACK), V4("udp 255.255.255.255", SOCK_DGRAM, INADDR_BROADCAST),
        { "tcp 2001:db8::1", AF_INET6, SOCK_STREAM, { .v6 = { .sin6_family = AF_INET6, .sin6_port = htons(PORT),
          .sin6_addr.s6_addr = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } } }, sizeof(struct sockaddr_in6) },
        { "tcp ::1", AF_INET6, SOCK_STREAM, { .v6 = { .sin6_family = AF_INET6, .sin6_port = htons(PORT),
          .sin6_addr.s6_addr = { [15] = 1 } } }, sizeof(struct sockaddr_in6) },
        { "unix @abstract", AF_UNIX, SOCK_STREAM, { .local = { .sun_family = AF_UNIX, .sun_path = "\0tw" } },
          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 3) },
    };
    out[0] = '\0';
    enum err_code c = list_devices(out, size, e);
    for (size_t i = 0; !c && i < MEM_COUNT(tries); i++) {
        int why = try(&tries[i]);
        size_t n = strlen(out);
        snprintf(out + n, size - n, "; %s: %s", tries[i].name, why ? strerrorname_np(why) : "WENT THROUGH");
        if (!is_nowhere(why) && why != EACCES) /* broadcast without the option is refused before it is routed */
            c = err_set(e, ERR_DENIED, "there is a way out of this process: %s gave %s", tries[i].name,
                        why ? strerrorname_np(why) : "a connection");
    }
    return c;
}
