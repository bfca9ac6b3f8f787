/* sandbox_ns -- namespaces: a network stack of our own with nothing in it, and the proof that it is empty. */
#include "base/sandbox_impl.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FD_SCAN_MAX = 1 << 16, ID_MAP_TEXT_MAX = 64 };

static enum err_code put(const char *path, const char *text, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "%s: cannot open", path);
    enum err_code c = file_write_all_fd(fd, text, strlen(text), e);
    close(fd);
    return c;
}

/* Keeps our own user and group numbers inside a fresh user namespace. */
static enum err_code map_ids(uid_t uid, gid_t gid, struct err *e)
{
    char line[ID_MAP_TEXT_MAX];
    enum err_code c = put("/proc/self/setgroups", "deny", e);
    snprintf(line, sizeof line, "%u %u 1", (unsigned)uid, (unsigned)uid);
    if (!c)
        c = put("/proc/self/uid_map", line, e);
    snprintf(line, sizeof line, "%u %u 1", (unsigned)gid, (unsigned)gid);
    return c ? c : put("/proc/self/gid_map", line, e);
}

enum err_code sandbox_ns_enter(bool *user_ns, struct err *e)
{
    const int wanted = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    if (!unshare(wanted)) {
        *user_ns = false;
        return ERR_OK;
    }
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (unshare(wanted | CLONE_NEWUSER))
        return err_set(e, ERR_DENIED, "the network namespace cannot be made (%s): it needs CAP_SYS_ADMIN, or "
                       "unprivileged user namespaces (sysctl user.max_user_namespaces above 0; systemd "
                       "RestrictNamespaces=user net ipc uts; a container profile that allows unshare)",
                       strerror(errno));
    *user_ns = true;
    return map_ids(uid, gid, e);
}

/* One descriptor: pipes, files and stream sockets of the Unix family stay inside what their maker chose. A
 * network socket keeps the namespace it was born in, and a datagram socket can be aimed anywhere. */
static enum err_code check_fd(int fd, struct err *e)
{
    int domain = 0, type = 0;
    socklen_t n = sizeof domain, tn = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &tn))
        return ERR_OK; /* not a socket */
    if (domain == AF_UNIX && (type == SOCK_STREAM || type == SOCK_SEQPACKET))
        return ERR_OK;
    return err_set(e, ERR_INVALID, "descriptor %d is a %s (family %d): it leads out of the sandbox; close it before "
                   "entering", fd, domain == AF_UNIX ? "datagram socket" : "network socket", domain);
}

enum err_code sandbox_fds_check(struct err *e)
{
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return err_errno(e, "the sandbox cannot list its descriptors: mount /proc");
    enum err_code c = ERR_OK;
    struct dirent *entry;
    for (int i = 0; !c && i < FD_SCAN_MAX && (entry = readdir(d)); i++) {
        if (entry->d_name[0] != '.')
            c = check_fd((int)strtol(entry->d_name, NULL, 10), e);
    }
    if (!c && (entry = readdir(d)))
        c = err_set(e, ERR_INVALID, "more than %d descriptors are open: the sandbox cannot check them", FD_SCAN_MAX);
    closedir(d);
    return c;
}

/* A datagram socket "connects" exactly when the kernel has a route; nothing is sent. */
static enum err_code check_route(int family, struct err *e)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0xC0000201) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(9),
                               .sin6_addr.s6_addr = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } };
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) /* the family is not there at all */
        return ERR_OK;
    int r = family == AF_INET ? connect(fd, (struct sockaddr *)&v4, sizeof v4)
                              : connect(fd, (struct sockaddr *)&v6, sizeof v6);
    close(fd);
    if (r)
        return ERR_OK;
    return err_set(e, ERR_DENIED, "there is an IPv%d route out of this process", family == AF_INET ? 4 : 6);
}

static enum err_code check_devices(struct err *e)
{
    struct if_nameindex *list = if_nameindex();
    if (!list)
        return errno == EAFNOSUPPORT ? ERR_OK : err_errno(e, "the network devices cannot be listed");
    enum err_code c = ERR_OK;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    for (struct if_nameindex *i = list; !c && i->if_index; i++) {
        struct ifreq r = { 0 };
        snprintf(r.ifr_name, sizeof r.ifr_name, "%s", i->if_name);
        if (fd >= 0 && !ioctl(fd, SIOCGIFFLAGS, &r) && (r.ifr_flags & IFF_UP))
            c = err_set(e, ERR_DENIED, "the network device %s is up in this process", i->if_name);
    }
    if (fd >= 0)
        close(fd);
    if_freenameindex(list);
    return c;
}

enum err_code sandbox_check_no_route(struct err *e)
{
    enum err_code c = check_devices(e);
    if (!c)
        c = check_route(AF_INET, e);
    if (!c)
        c = check_route(AF_INET6, e);
    return c ? c : sandbox_fds_check(e);
}
