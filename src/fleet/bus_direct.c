/* bus_direct -- the bus without a broker, on one machine: one process listens (direct-listen://127.0.0.1:PORT), others
 * dial it (direct://127.0.0.1:PORT). The listening side knows all subscriptions and carries every message.
 *
 * A message between processes, little-endian: u32 length of what follows, u8 operation, u64 id of a subscription,
 * u16 length of the subject, u16 of reply or queue; subject, reply or queue, data. Nothing is encrypted and nobody is
 * asked who he is, so only the machine's own loopback is taken.
 *
 * Owner: the loop's thread. Nothing is told from inside bus_publish: what stays here goes through `queue`. */
#include "fleet/bus_impl.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "net/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OP_SUB = 1, OP_UNSUB, OP_MSG };
enum { LENGTH_BYTES = 4, HEAD_BYTES = 13, WORDS_MAX = 2 * 256, REDIAL_MS = 250, PEERS_MAX = 64, SUBS_MAX = 4096 };

struct peer {                     /* a process that dialled us; or, of one that dials, the one that listens */
    struct direct *b;
    struct stream *stream;
    struct peer *next;
};

struct direct_sub {
    struct bus_sub base;
    struct direct_sub *next;      /* serials grow */
    uint64_t serial, id;          /* id: as its owner calls it */
    struct peer *peer;            /* whose; NULL: ours */
    char *subject, *queue;
    bus_message_fn fn;
    void *arg;
};

struct queued {
    struct queued *next;
    struct bus_message m;
    char bytes[];
};

struct direct {
    struct bus base;
    struct loop *loop;
    struct bus_events events;
    void *arg;
    bool listens, up, told, telling;
    int port, fd;                 /* fd: listening, else -1 */
    struct loop_watch *watch;
    struct loop_timer *timer;     /* the queue; dialling */
    struct peer *peers;
    int peer_count, sub_count;
    struct direct_sub *subs;
    uint64_t serial, turn;
    struct queued *first, *last;
    size_t queued_bytes;
};

/* ---- the wire */

static void put(struct peer *p, int op, uint64_t id, const char *subject, const char *word, const void *data, size_t n)
{
    size_t sn = strlen(subject), wn = strlen(word);
    struct buf b = { 0 };
    buf_put_u32(&b, (uint32_t)(HEAD_BYTES + sn + wn + n));
    buf_putc(&b, (char)op);
    buf_put_u64(&b, id);
    buf_put_u16(&b, (uint16_t)sn);
    buf_put_u16(&b, (uint16_t)wn);
    buf_puts(&b, subject);
    buf_puts(&b, word);
    buf_append(&b, data, n);
    if (p->stream)
        stream_write(p->stream, b.data, b.len);
    buf_release(&b);
}

struct piece {
    int op;
    uint64_t id;
    char subject[256], word[256];
    const char *data;
    size_t n;
};

static uint64_t le(const char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

/* Bytes taken; 0: more are needed; -1: this is not our wire. */
static long cut(const char *p, size_t n, struct piece *out)
{
    if (n < LENGTH_BYTES + HEAD_BYTES)
        return n >= LENGTH_BYTES && le(p, 4) < HEAD_BYTES ? -1 : 0;
    size_t length = le(p, 4), sn = le(p + 13, 2), wn = le(p + 15, 2);
    if (length < HEAD_BYTES + sn + wn || length > HEAD_BYTES + WORDS_MAX + BUS_MESSAGE_MAX || sn > 255 || wn > 255)
        return -1;
    if (n < LENGTH_BYTES + length)
        return 0;
    const char *text = p + LENGTH_BYTES + HEAD_BYTES;
    out->op = (unsigned char)p[4];
    out->id = le(p + 5, 8);
    memcpy(out->subject, text, sn);
    memcpy(out->word, text + sn, wn);
    out->subject[sn] = out->word[wn] = '\0';
    out->data = text + sn + wn;
    out->n = length - HEAD_BYTES - sn - wn;
    return (long)(LENGTH_BYTES + length);
}

/* ---- who gets a message: the listening side */

static bool matches(const char *pattern, const char *subject)
{
    for (;;) { /* a word a round */
        size_t p = strcspn(pattern, "."), s = strcspn(subject, ".");
        if (*pattern == '>' && *subject)
            return true;
        if (!(p == 1 && *pattern == '*' && s) && (p != s || memcmp(pattern, subject, p)))
            return false;
        pattern += p;
        subject += s;
        if (!*pattern || !*subject)
            return *pattern == *subject;
        pattern++;
        subject++;
    }
}

/* Of a group one gets it, each in turn. */
static bool is_chosen(const struct direct *b, const struct direct_sub *s, const char *subject)
{
    uint64_t members = 0, mine = 0;
    if (!s->queue)
        return true;
    for (const struct direct_sub *o = b->subs; o; o = o->next)
        if (o->queue && !strcmp(o->queue, s->queue) && matches(o->subject, subject)) {
            mine = o == s ? members : mine;
            members++;
        }
    return b->turn % members == mine;
}

static void pass_on(struct direct *b, struct direct_sub *s, const struct bus_message *m)
{
    if (!s->peer) {
        s->fn(s->arg, m);
    } else if (stream_pending(s->peer->stream) < BUS_PENDING_MAX) {
        put(s->peer, OP_MSG, s->id, m->subject, m->reply, m->data, m->n);
    } else if (b->events.refused) {
        b->events.refused(b->arg, "messages are dropped: a process on this machine reads them too slowly");
    }
}

/* A callback may subscribe and unsubscribe: the list is searched anew for each. */
static void route(struct direct *b, const struct bus_message *m)
{
    uint64_t done = 0, end = b->serial;
    b->turn++;
    for (struct direct_sub *s = b->subs; s && s->serial <= end;) {
        if (s->serial <= done || !matches(s->subject, m->subject) || !is_chosen(b, s, m->subject)) {
            s = s->next;
            continue;
        }
        done = s->serial;
        pass_on(b, s, m);
        s = b->subs;
    }
}

static void add_sub(struct direct *b, struct direct_sub *s, const char *subject, const char *queue)
{
    struct direct_sub **at = &b->subs;
    s->base.bus = &b->base;
    s->serial = ++b->serial;
    s->subject = mem_strdup(subject);
    s->queue = queue ? mem_strdup(queue) : NULL;
    while (*at)
        at = &(*at)->next;
    *at = s;
    b->sub_count++;
}

static void free_sub(struct direct *b, struct direct_sub *s)
{
    struct direct_sub **at = &b->subs;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    b->sub_count--;
    mem_free(s->subject);
    mem_free(s->queue);
    mem_free(s);
}

static struct direct_sub *find_sub(const struct direct *b, const struct peer *owner, uint64_t id)
{
    struct direct_sub *s = b->subs;
    while (s && (s->peer != owner || s->id != id))
        s = s->next;
    return s;
}

/* ---- peers */

static void drop_peer(struct peer *p)
{
    struct direct *b = p->b;
    struct peer **at = &b->peers;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    b->peer_count--;
    for (struct direct_sub *s = b->subs, *next; s; s = next) {
        next = s->next;
        if (s->peer == p)
            free_sub(b, s);
    }
    stream_free(p->stream);
    mem_free(p);
}

static void tell_down(struct direct *b, const char *why)
{
    bool tell = b->up || !b->told;
    b->up = false;
    b->told = true;
    if (tell && b->events.down)
        b->events.down(b->arg, why);
}

/* false: it makes no sense. */
static bool obey(struct direct *b, struct peer *p, const struct piece *f)
{
    struct bus_message m = { f->subject, f->word, f->data, f->n };
    struct direct_sub *s;
    if (!b->listens) {
        s = f->op == OP_MSG ? find_sub(b, NULL, f->id) : NULL;
        if (s)
            s->fn(s->arg, &m);
        return f->op == OP_MSG;
    }
    s = find_sub(b, p, f->id);
    if (f->op == OP_MSG && bus_subject_ok(f->subject, false)) {
        route(b, &m);
    } else if (f->op == OP_UNSUB) {
        if (s)
            free_sub(b, s);
    } else if (f->op == OP_SUB && !s && bus_subject_ok(f->subject, true) && b->sub_count < SUBS_MAX) {
        s = MEM_NEW(struct direct_sub);
        *s = (struct direct_sub){ .id = f->id, .peer = p };
        add_sub(b, s, f->subject, f->word[0] ? f->word : NULL);
    } else {
        return false;
    }
    return true;
}

static long peer_data(void *arg, const char *data, size_t n)
{
    struct peer *p = arg;
    struct direct *b = p->b;
    size_t at = 0;
    struct piece f;
    for (long took; (took = cut(data + at, n - at, &f)); at += (size_t)took) {
        b->telling = true;
        bool ok = took > 0 && obey(b, p, &f);
        b->telling = false;
        if (ok)
            continue;
        drop_peer(p);
        if (!b->listens) {
            tell_down(b, "the other side of the direct bus does not speak as we do");
            loop_timer_set(b->timer, REDIAL_MS);
        }
        return -1;
    }
    return (long)at;
}

static void peer_closed(void *arg, const char *why)
{
    struct peer *p = arg;
    struct direct *b = p->b;
    drop_peer(p);
    if (b->listens)
        return;
    tell_down(b, "the process that listens for the direct bus is gone");
    loop_timer_set(b->timer, REDIAL_MS);
}

static struct peer *add_peer(struct direct *b, int fd)
{
    static const struct stream_events events = { peer_data, peer_closed };
    struct peer *p = MEM_NEW(struct peer);
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *p = (struct peer){ .b = b, .next = b->peers };
    p->stream = stream_new(b->loop, fd, LENGTH_BYTES + HEAD_BYTES + WORDS_MAX + BUS_MESSAGE_MAX, &events, p);
    b->peers = p;
    b->peer_count++;
    return p;
}

static void on_accept(void *arg)
{
    struct direct *b = arg;
    int fd = accept4(b->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0 && b->peer_count < PEERS_MAX)
        add_peer(b, fd);
    else if (fd >= 0)
        close(fd);
}

static int make_socket(const struct direct *b)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)b->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && b->listens)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd >= 0 && (b->listens ? bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, PEERS_MAX)
                               : connect(fd, (struct sockaddr *)&a, sizeof a))) { /* the loopback answers at once */
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static void dial(struct direct *b)
{
    int fd = make_socket(b);
    if (fd < 0) {
        char why[120];
        snprintf(why, sizeof why, "cannot reach the direct bus on port %d: %s", b->port, strerror(errno));
        tell_down(b, why);
        loop_timer_set(b->timer, REDIAL_MS);
        return;
    }
    struct peer *p = add_peer(b, fd);
    for (struct direct_sub *s = b->subs; s; s = s->next)
        put(p, OP_SUB, s->id, s->subject, s->queue ? s->queue : "", NULL, 0);
}

/* ---- the one timer: coming up, dialling, what was published here */

static void on_timer(void *arg)
{
    struct direct *b = arg;
    if (!b->listens && !b->peers)
        dial(b);
    if (!b->up && (b->listens || b->peers)) {
        b->up = b->told = true;
        if (b->events.up)
            b->events.up(b->arg);
    }
    struct queued *q = b->first;
    b->first = b->last = NULL; /* what comes meanwhile has its own turn */
    for (struct queued *next; q; q = next) {
        next = q->next;
        b->telling = true;
        route(b, &q->m);
        b->telling = false;
        b->queued_bytes -= q->m.n;
        mem_free(q);
    }
}

/* ---- the bus */

static void direct_close(struct bus *base)
{
    struct direct *b = (struct direct *)base;
    ASSERT(!b->telling);
    while (b->peers)
        drop_peer(b->peers);
    while (b->subs)
        free_sub(b, b->subs);
    for (struct queued *q = b->first, *next; q; q = next) {
        next = q->next;
        mem_free(q);
    }
    loop_watch_free(b->watch);
    loop_timer_free(b->timer);
    if (b->fd >= 0)
        close(b->fd);
    mem_free(b);
}

static bool direct_is_up(const struct bus *base)
{
    return ((const struct direct *)base)->up;
}

static struct bus_sub *direct_subscribe(struct bus *base, const char *subject, const char *queue, bus_message_fn fn,
                                        void *arg)
{
    struct direct *b = (struct direct *)base;
    struct direct_sub *s = MEM_NEW(struct direct_sub);
    *s = (struct direct_sub){ .fn = fn, .arg = arg };
    add_sub(b, s, subject, queue);
    s->id = s->serial;
    if (!b->listens && b->peers)
        put(b->peers, OP_SUB, s->id, subject, queue ? queue : "", NULL, 0);
    return &s->base;
}

static void direct_unsubscribe(struct bus_sub *base)
{
    struct direct_sub *s = (struct direct_sub *)base;
    struct direct *b = (struct direct *)base->bus;
    if (!b->listens && b->peers)
        put(b->peers, OP_UNSUB, s->id, "", "", NULL, 0);
    free_sub(b, s);
}

static bool direct_publish(struct bus *base, const char *subject, const char *reply, const void *data, size_t n)
{
    struct direct *b = (struct direct *)base;
    size_t sn = strlen(subject) + 1, rn = reply ? strlen(reply) + 1 : 1;
    if (!b->up || (b->listens ? n > BUS_PENDING_MAX - b->queued_bytes
                              : stream_pending(b->peers->stream) > BUS_PENDING_MAX))
        return false;
    if (!b->listens) {
        put(b->peers, OP_MSG, 0, subject, reply ? reply : "", data, n);
        return true;
    }
    struct queued *q = mem_grow(NULL, 1, sizeof *q + sn + rn + n);
    memcpy(q->bytes, subject, sn);
    memcpy(q->bytes + sn, reply ? reply : "", rn);
    if (n)
        memcpy(q->bytes + sn + rn, data, n);
    q->next = NULL;
    q->m = (struct bus_message){ q->bytes, q->bytes + sn, q->bytes + sn + rn, n };
    *(b->last ? &b->last->next : &b->first) = q;
    b->last = q;
    b->queued_bytes += n;
    loop_timer_set(b->timer, 0);
    return true;
}

struct bus *bus_direct_open(struct loop *l, const struct bus_options *o, const struct bus_events *events, void *arg,
                            struct err *e)
{
    static const struct bus_ops ops = { direct_close, direct_is_up, direct_subscribe, direct_unsubscribe,
                                        direct_publish };
    bool listens = !strncmp(o->url, "direct-listen://", 16);
    const char *at = o->url + (listens ? 16 : 9), *colon = strrchr(at, ':');
    size_t host = colon ? (size_t)(colon - at) : 0;
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;
    bool here = (host == 9 && !memcmp(at, "127.0.0.1", 9)) || (host == 9 && !memcmp(at, "localhost", 9));
    if (!here || *end || port < 1 || port > 65535) {
        err_set(e, ERR_INVALID, "\"%.100s\" is no address of a direct bus: it is not encrypted, so only "
                "127.0.0.1:PORT is taken; between machines use nats-server", o->url);
        return NULL;
    }
    struct direct *b = MEM_NEW(struct direct);
    *b = (struct direct){ .base.ops = &ops, .loop = l, .events = *events, .arg = arg, .listens = listens,
                          .port = (int)port, .fd = -1 };
    if (listens && (b->fd = make_socket(b)) < 0) {
        err_errno(e, "cannot listen for the direct bus on port %d", b->port);
        mem_free(b);
        return NULL;
    }
    b->watch = listens ? loop_watch_new(l, b->fd, on_accept, b) : NULL;
    b->timer = loop_timer_new(l, on_timer, b);
    loop_timer_set(b->timer, 0);
    return &b->base;
}
