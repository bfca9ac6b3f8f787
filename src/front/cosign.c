/* cosign -- see cosign.h. The thread reads the log's files, never the log: what is below `head` does not change. */
#include "front/cosign.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "front/trustlog_impl.h"
#include "trust/quorum.h"
#include "trust/witness.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CONNECT_MS = 3000, ASK_MS = 10000, POLL_MS = 250, ASK_EVERY_POLLS = 4,
       FRESH_S = 600, FILE_MAX = 1 << 20, MAX_AGE_S = 24 * 3600 };

enum err_code cosign_ask(struct http_client *http, const char *url, const struct cosign_head *head, struct buf *lines,
                         struct err *e)
{
    struct tree_proof *p = MEM_NEW(struct tree_proof);
    uint64_t old = 0;
    bool again = true;
    enum err_code c = ERR_OK;
    for (int attempt = 0; !c && again && attempt < 2; attempt++) {
        struct buf request = { 0 }, full = { 0 };
        struct http_client_reply reply = { 0 };
        c = tree_prove_grown(old, head->size, tiles_hash, head->tiles, p, e);
        witness_request(old, p, head->note, &request);
        buf_printf(&full, "%s/add-checkpoint", url);
        const struct http_client_request r = { .url = buf_str(&full), .headers = { "Content-Type: text/plain" },
                                               .body = request.data, .body_len = request.len,
                                               .connect_ms = CONNECT_MS, .total_ms = ASK_MS };
        if (!c)
            c = http_client_run(http, &r, &reply, e);
        struct span size = { buf_str(&reply.body), reply.body.len ? reply.body.len - 1 : 0 };
        again = !c && reply.status == 409 && !attempt && code_uint(size, &old);
        if (again && old > head->size)
            c = err_set(e, ERR_CORRUPT, "%s has seen %" PRIu64 " leaves of this log, which has %" PRIu64
                        ": it was rolled back", url, old, head->size);
        else if (!c && reply.status == 200)
            buf_append(lines, reply.body.data, reply.body.len);
        else if (!c && !again)
            c = err_set(e, ERR_DENIED, "%s answered %d: %.200s", url, reply.status, buf_str(&reply.body));
        http_client_reply_release(&reply);
        buf_release(&request);
        buf_release(&full);
    }
    mem_free(p);
    return c;
}

enum err_code cosign_gather(const struct site *s, struct span note, struct err *e)
{
    struct quorum *q = MEM_NEW(struct quorum);
    struct note *n = MEM_NEW(struct note);
    struct checkpoint cp;
    int log = 0;
    const struct quorum_time when = { clock_wall_s(), MAX_AGE_S, CHAIN_SKEW_S };
    enum err_code c = site_quorum(s, q, e);
    if (!c)
        c = quorum_check(q, note, &when, n, &cp, &log, e);
    mem_free(q);
    mem_free(n);
    return c;
}

/* ---- the server's thread */

struct cosigner {
    struct trustlog *log;
    struct site site;
    struct quorum quorum;
    pthread_t thread;
    atomic_bool stopping; /* set by the loop, read by the thread: ends its sleep */
    uint64_t published;   /* the size that was cosigned last */
    int64_t published_s;
    char said[ERR_TEXT_MAX]; /* the last failure logged: each is said once */
};

static enum err_code read_in(const char *dir, const char *name, struct buf *out, struct err *e)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/%s", dir, name);
    enum err_code c = file_read(buf_str(&path), FILE_MAX, out, e);
    buf_release(&path);
    return c;
}

static void push_note(struct cosigner *c, const struct buf *note)
{
    struct task *k = MEM_NEW(struct task);
    k->kind = TASK_COSIGNED;
    buf_append(&k->out, note->data, note->len);
    trustlog_push(c->log, k);
}

static void say(struct cosigner *c, const struct err *e)
{
    if (!strcmp(c->said, e->text))
        return;
    snprintf(c->said, sizeof c->said, "%s", e->text);
    log_line(LOG_WARN, "front", "the log's head is not cosigned: %s", e->text);
}

/* All witnesses with an address, about one head. true: it has grown, and the quorum signed what is in out. */
static bool ask_all(struct cosigner *c, struct http_client *http, struct buf *out)
{
    struct buf note = { 0 }, dir = { 0 };
    bool cosigned = false;
    struct note *n = MEM_NEW(struct note);
    struct checkpoint cp = { 0 };
    struct tiles tiles = { 0 };
    struct err e = { 0 }, last = { 0 };
    enum err_code code = read_in(c->site.pub, "log/head", &note, &e);
    if (!code)
        code = note_parse((struct span){ buf_str(&note), note.len }, n, &e);
    if (!code)
        code = checkpoint_parse(n->text, &cp, &e);
    int64_t now = clock_wall_s();
    bool due = !code && (cp.size != c->published || now - c->published_s > FRESH_S);
    buf_printf(&dir, "%s/log", c->site.pub);
    if (due) {
        struct buf head = { 0 };
        buf_append(&head, note.data, note.len);
        tiles_open(&tiles, buf_str(&dir), cp.size);
        const struct cosign_head h = { { buf_str(&head), head.len }, &tiles, cp.size };
        for (int i = 0; i < c->quorum.node_count; i++) {
            const struct quorum_node *w = &c->quorum.nodes[i];
            if (w->is_group || !w->url[0])
                continue;
            enum err_code one = cosign_ask(http, w->url, &h, &note, &last);
            if (one == ERR_CORRUPT)
                trustlog_rolled_back(c->log, &last);
        }
        tiles_close(&tiles);
        buf_release(&head);
        if (!cosign_gather(&c->site, (struct span){ buf_str(&note), note.len }, &e)) {
            buf_append(out, note.data, note.len);
            cosigned = true;
            c->published = cp.size;
            c->published_s = now;
            c->said[0] = '\0';
        } else {
            say(c, last.code ? &last : &e);
        }
    }
    mem_free(n);
    buf_release(&dir);
    buf_release(&note);
    return cosigned;
}

/* Signatures carried by hand: taken once, then the file is gone. */
static void take_carried(struct cosigner *c)
{
    struct buf path = { 0 }, note = { 0 };
    struct err e = { 0 };
    buf_printf(&path, "%s/cosigned", c->site.dir);
    if (!access(buf_str(&path), R_OK) && !file_read(buf_str(&path), FILE_MAX, &note, &e)) {
        if (cosign_gather(&c->site, (struct span){ buf_str(&note), note.len }, &e))
            say(c, &e);
        else
            push_note(c, &note);
        unlink(buf_str(&path));
    }
    buf_release(&path);
    buf_release(&note);
}

static void *cosigner_main(void *arg)
{
    struct cosigner *c = arg;
    struct http_client *http = http_client_new();
    for (unsigned i = 0; !atomic_load_explicit(&c->stopping, memory_order_relaxed); i++) { /* until cosigner_stop */
        struct buf note = { 0 };
        if (i % ASK_EVERY_POLLS == 0 && ask_all(c, http, &note))
            push_note(c, &note);
        buf_release(&note);
        take_carried(c);
        nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
    }
    http_client_free(http);
    return NULL;
}

struct cosigner *cosigner_start(struct trustlog *t, const struct site *s)
{
    struct cosigner *c = MEM_NEW(struct cosigner);
    struct err e = { 0 };
    c->log = t;
    site_open(&c->site, s->dir);
    bool any = !site_quorum(s, &c->quorum, &e) && c->quorum.root >= 0;
    if (!any || pthread_create(&c->thread, NULL, cosigner_main, c)) {
        site_close(&c->site);
        mem_free(c);
        return NULL;
    }
    return c;
}

void cosigner_stop(struct cosigner *c)
{
    if (!c)
        return;
    atomic_store_explicit(&c->stopping, true, memory_order_relaxed);
    pthread_join(c->thread, NULL);
}

bool cosigner_last(struct cosigner *c, struct buf *note)
{
    struct http_client *http = c ? http_client_new() : NULL;
    bool cosigned = c && ask_all(c, http, note);
    if (http)
        http_client_free(http);
    return cosigned;
}

void cosigner_free(struct cosigner *c)
{
    if (!c)
        return;
    site_close(&c->site);
    mem_free(c);
}
