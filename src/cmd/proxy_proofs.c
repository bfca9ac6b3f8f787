/* proxy_proofs -- the proofs of receipts kept: fetched once the log's checkpoint that holds them is published, checked
 * against the trust policy, and laid beside the note. A thread of its own; it ends with the process. */
#include "cmd/proxy_site.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/client.h"
#include "trust/proof.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EVERY_S = 2, ASK_MS = 10000, NOTE_MAX = 1 << 16, ROUND_MAX = 256 };

static struct span as_span(const struct buf *b)
{
    return (struct span){ buf_str(b), b->len };
}

static enum err_code check(const struct proxy_site *p, const struct buf *note, const struct buf *text, struct err *e)
{
    struct proof *proof = MEM_NEW(struct proof);
    char leaf[STATEMENT_LEAF_MAX];
    const struct quorum_time when = { clock_wall_s(), 0, CHAIN_SKEW_S };
    enum err_code c = proof_parse(as_span(text), proof, e);
    if (!c) /* the quorum was parsed from the policy at start and does not change */
        c = proof_check(proof, &p->client.quorum, &when, statement_leaf(STATEMENT_RECEIPT, as_span(note), leaf), e);
    mem_free(proof);
    return c;
}

/* false: ask no more in this round. */
static bool fetch(const struct proxy_site *p, struct http_client *http, const char *id)
{
    struct buf url = { 0 }, path = { 0 }, note = { 0 };
    struct http_client_reply reply = { 0 };
    struct err e = { 0 };
    buf_printf(&url, "%s/v1/receipts/%s.tlog-proof", p->url, id);
    buf_printf(&path, "%s/receipts/%s.note", p->dir, id);
    const struct http_client_request r = { .url = buf_str(&url), .bearer = p->api_key, .total_ms = ASK_MS,
                                           .reply_max = PROOF_TEXT_MAX };
    bool alive = !http_client_run(http, &r, &reply, &e);
    if (alive && reply.status == 200 && !file_read(buf_str(&path), NOTE_MAX, &note, &e)) {
        buf_clear(&path);
        buf_printf(&path, "%s/receipts/%s.tlog-proof", p->dir, id);
        if (check(p, &note, &reply.body, &e) || file_write(buf_str(&path), reply.body.data, reply.body.len, &e))
            log_line(LOG_ERROR, "proxy", "the proof of receipt %s does not hold: %s", id, e.text);
        else
            log_line(LOG_INFO, "proxy", "receipt %s is in the log", id);
    }
    http_client_reply_release(&reply);
    buf_release(&url);
    buf_release(&path);
    buf_release(&note);
    return alive;
}

static bool has_proof(const struct proxy_site *p, const char *id)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/receipts/%s.tlog-proof", p->dir, id);
    bool yes = !access(buf_str(&path), F_OK);
    buf_release(&path);
    return yes;
}

static void one_round(const struct proxy_site *p, struct http_client *http)
{
    struct buf dir = { 0 };
    buf_printf(&dir, "%s/receipts", p->dir);
    DIR *d = opendir(buf_str(&dir));
    int asked = 0;
    for (struct dirent *f = d ? readdir(d) : NULL; f && asked < ROUND_MAX; f = readdir(d)) {
        size_t n = strlen(f->d_name), tail = strlen(".note");
        char id[256];
        if (n <= tail || strcmp(f->d_name + n - tail, ".note"))
            continue;
        snprintf(id, sizeof id, "%.*s", (int)(n - tail), f->d_name);
        if (has_proof(p, id))
            continue;
        asked++;
        if (!fetch(p, http, id))
            break;
    }
    if (d)
        closedir(d);
    buf_release(&dir);
}

void *proxy_proofs_main(void *site)
{
    struct http_client *http = http_client_new();
    for (;;) { /* as long as the process */
        one_round(site, http);
        nanosleep(&(struct timespec){ .tv_sec = EVERY_S }, NULL);
    }
    return NULL;
}
