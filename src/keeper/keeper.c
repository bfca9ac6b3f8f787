/* keeper -- see keeper.h. */
#include "keeper/keeper.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/sandbox.h"
#include "keeper/message.h"
#include "keeper/secret.h"
#include "trust/boot.h"
#include "trust/sealbox.h"
#include "trust/site.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MONTHS = 3 }; /* the last, this and the next: a boot may run over the end of a month */

struct keys { /* lives in secret memory */
    struct boot_signer receipts;
    struct key_secret log, node;
    uint8_t storage[SEALBOX_KEY];
    char month[MONTHS][8];
    uint8_t pseudonym[MONTHS][PSEUDONYM_KEY_BYTES];
};

struct keeper {
    struct secret memory;
    struct keys *k;
    struct sandbox_report sandbox;
    uint64_t log_size;              /* of the last checkpoint signed, or of the log's head at start */
    uint8_t log_root[HASH_BYTES];
    bool log_known, closed;
};

/* ---- requests. in: the payload; out: the answer's. */

static enum err_code do_hello(struct keeper *k, struct span in, struct buf *out, struct err *e)
{
    char receipt[KEY_TEXT_MAX], log[KEY_TEXT_MAX], node[KEY_TEXT_MAX];
    key_public_text(&k->k->receipts.key.pub, receipt);
    key_public_text(&k->k->log.pub, log);
    key_public_text(&k->k->node.pub, node);
    buf_printf(out, "boot %s\nreceipt %s\nlog %s\nnode %s\nmemory %s\nsandbox %s\n", k->k->receipts.boot, receipt, log,
               node, k->memory.kind, k->sandbox.text[0] ? k->sandbox.text : "none");
    return ERR_OK;
}

static enum err_code do_receipt(struct keeper *k, struct span in, struct buf *out, struct err *e)
{
    struct receipt r;
    if (k->closed)
        return err_set(e, ERR_DENIED, "the boot is closed: no receipt after the close note");
    enum err_code c = receipt_parse(in, &r, e);
    return c ? c : boot_sign(&k->k->receipts, &r, out, e);
}

static enum err_code do_checkpoint(struct keeper *k, struct span in, struct buf *out, struct err *e)
{
    struct tree_proof p = { 0 };
    struct checkpoint cp;
    const uint8_t *bytes = (const uint8_t *)in.data;
    size_t count = in.len ? bytes[0] : 0, head = 1 + count * HASH_BYTES;
    if (!in.len || count > TREE_LEVELS_MAX || in.len < head)
        return err_set(e, ERR_CORRUPT, "a checkpoint request needs a proof");
    p.count = (int)count;
    memcpy(p.hash, bytes + 1, count * HASH_BYTES);
    struct span text = { in.data + head, in.len - head };
    enum err_code c = checkpoint_parse(text, &cp, e);
    if (!c && !span_is(cp.origin, k->k->log.pub.name))
        c = err_set(e, ERR_DENIED, "the checkpoint is of another log");
    if (!c && k->log_known)
        c = tree_check_grown(k->log_size, k->log_root, cp.size, cp.root, &p, e);
    else if (!c && cp.size)
        c = err_set(e, ERR_DENIED, "the first checkpoint of a new log must be empty");
    if (!c)
        c = note_sign(text, &k->k->log, out, e);
    if (c)
        return c;
    k->log_known = true;
    k->log_size = cp.size;
    memcpy(k->log_root, cp.root, HASH_BYTES);
    return ERR_OK;
}

static enum err_code do_node(struct keeper *k, struct span in, struct buf *out, struct err *e)
{
    struct statement s;
    char vkey[KEY_TEXT_MAX];
    int64_t now = clock_wall_s();
    enum err_code c = statement_parse(in, &s, e);
    if (c)
        return c;
    key_public_text(&k->k->receipts.key.pub, vkey);
    if (s.type != STATEMENT_NODE || !span_is(statement_get(&s, "boot"), k->k->receipts.boot) ||
        !span_is(statement_get(&s, "receipt-key"), vkey))
        return err_set(e, ERR_DENIED, "only a node statement about this boot and its receipt key is signed");
    int64_t from = statement_time(&s, "not-before"), to = statement_time(&s, "not-after");
    if (from < now - CHAIN_SKEW_S || from > now + CHAIN_SKEW_S || to > now + CHAIN_SKEW_S + NODE_LIFE_MAX_S)
        return err_set(e, ERR_DENIED, "a node statement begins now and lasts at most a day");
    return note_sign(in, &k->k->node, out, e);
}

static enum err_code do_close(struct keeper *k, struct span in, struct buf *out, struct err *e)
{
    struct buf text = { 0 };
    k->closed = true;
    enum err_code c = boot_close_text(&k->k->receipts, clock_wall_s(), &text, e);
    if (!c)
        c = note_sign((struct span){ text.data, text.len }, &k->k->node, out, e);
    buf_release(&text);
    return c;
}

static enum err_code do_tag(struct keeper *k, struct span in, struct buf *out, struct err *e)
{
    struct span month, tenant;
    char name[RECEIPT_NAME_MAX + 1];
    uint8_t tag[TENANT_TAG_BYTES];
    if (!span_cut(in, ' ', &month, &tenant) || !tenant.len || tenant.len > RECEIPT_NAME_MAX ||
        memchr(tenant.data, 0, tenant.len))
        return err_set(e, ERR_INVALID, "a tag needs a month and a tenant");
    memcpy(name, tenant.data, tenant.len);
    name[tenant.len] = '\0';
    for (int i = 0; i < MONTHS; i++) {
        if (!span_is(month, k->k->month[i]))
            continue;
        pseudonym_tag(k->k->pseudonym[i], k->k->month[i], name, tag);
        buf_append(out, tag, sizeof tag);
        return ERR_OK;
    }
    return err_set(e, ERR_NOT_FOUND, "the keeper holds no pseudonym key for %.*s", (int)month.len, month.data);
}

/* A key for content at rest, by what it is for. The one it comes from never leaves. */
static enum err_code do_storage(struct keeper *k, struct span in, struct buf *out, struct err *e)
{
    uint8_t key[SEALBOX_KEY];
    if (!in.len || in.len > KEEPER_PURPOSE_MAX)
        return err_set(e, ERR_INVALID, "a storage key is for a purpose of 1 to %d bytes", KEEPER_PURPOSE_MAX);
    sealbox_derive(k->k->storage, in.data, in.len, key);
    buf_append(out, key, sizeof key);
    mem_wipe(key, sizeof key);
    return ERR_OK;
}

/* The whole of what can be asked. */
static enum err_code (*const table[])(struct keeper *k, struct span in, struct buf *out, struct err *e) = {
    [KEEPER_HELLO] = do_hello,           [KEEPER_RECEIPT] = do_receipt, [KEEPER_CHECKPOINT] = do_checkpoint,
    [KEEPER_NODE] = do_node,             [KEEPER_CLOSE] = do_close,     [KEEPER_TAG] = do_tag,
    [KEEPER_STORAGE] = do_storage,
};

static void answer(struct keeper *k, struct keeper_message *m, struct keeper_message *reply)
{
    struct err e = { 0 };
    enum err_code c;
    buf_clear(&reply->payload);
    reply->kind = m->kind;
    if (m->kind >= MEM_COUNT(table) || !table[m->kind])
        c = err_set(&e, ERR_UNSUPPORTED, "the keeper knows no request %u", m->kind);
    else
        c = table[m->kind](k, (struct span){ buf_str(&m->payload), m->payload.len }, &reply->payload, &e);
    reply->status = (uint8_t)c;
    if (c) {
        buf_clear(&reply->payload);
        buf_puts(&reply->payload, e.text);
    }
}

/* ---- start */

static enum err_code load_head(struct keeper *k, const struct site *s, struct err *e)
{
    struct buf path = { 0 }, text = { 0 };
    struct note *n = MEM_NEW(struct note);
    struct checkpoint cp;
    buf_printf(&path, "%s/log/head", s->pub);
    enum err_code c = file_read(buf_str(&path), 1 << 16, &text, NULL);
    if (c) {
        c = ERR_OK; /* a new log */
    } else {
        c = checkpoint_open((struct span){ text.data, text.len }, &k->k->log.pub, n, &cp, e);
        if (!c) {
            k->log_known = true;
            k->log_size = cp.size;
            memcpy(k->log_root, cp.root, HASH_BYTES);
        }
    }
    mem_free(n);
    buf_release(&path);
    buf_release(&text);
    return c;
}

static enum err_code load_months(struct keeper *k, const struct site *s, struct err *e)
{
    enum err_code c = ERR_OK;
    int64_t now = clock_wall_s();
    for (int i = 0; !c && i < MONTHS; i++) {
        pseudonym_month(now, k->k->month[i]);
        if (i) { /* step into the next month: at most 32 days, by days */
            for (int d = 0; d < 32 && !strcmp(k->k->month[i], k->k->month[i - 1]); d++)
                pseudonym_month(now += 86400, k->k->month[i]);
        } else { /* begin with the last month */
            char this_month[8];
            memcpy(this_month, k->k->month[0], sizeof this_month);
            for (int d = 0; d < 32 && !strcmp(k->k->month[0], this_month); d++)
                pseudonym_month(now -= 86400, k->k->month[0]);
        }
        c = site_pseudonym(s, k->k->month[i], k->k->pseudonym[i], e);
    }
    return c;
}

static enum err_code start(struct keeper *k, const struct keeper_options *o, struct err *e)
{
    struct site s;
    struct chain *chain = MEM_NEW(struct chain);
    site_open(&s, o->site_dir);
    enum err_code c = secret_new(sizeof *k->k, &k->memory, e);
    k->k = k->memory.data;
    if (!c)
        c = site_chain(&s, chain, e);
    if (!c)
        c = site_key(&s, "log", &k->k->log, e);
    if (!c)
        c = site_key(&s, "node", &k->k->node, e);
    if (!c)
        c = boot_signer_init(&k->k->receipts, chain->site, o->boot, e);
    if (!c)
        c = site_storage(&s, k->k->storage, e);
    if (!c)
        c = load_months(k, &s, e);
    if (!c)
        c = load_head(k, &s, e);
    if (!c && !o->no_sandbox)
        c = sandbox_enter(&(struct sandbox_profile){ .name = "keeper", .best_effort = o->best_effort,
                                                    .air_gapped = o->air_gapped }, &k->sandbox, e);
    mem_free(chain);
    site_close(&s);
    return c;
}

enum err_code keeper_run(int socket, const struct keeper_options *o, struct err *e)
{
    struct keeper k = { 0 };
    struct keeper_message in = { 0 }, out = { 0 };
    enum err_code c = trust_init(e);
    if (!c)
        c = start(&k, o, e);
    while (!c) {
        c = keeper_receive(socket, &in, e);
        if (c)
            break;
        answer(&k, &in, &out);
        c = keeper_send(socket, &out, e);
    }
    buf_release(&in.payload);
    buf_release(&out.payload);
    secret_free(&k.memory);
    return c == ERR_NOT_FOUND ? ERR_OK : c; /* the front is gone: so are the keys */
}
