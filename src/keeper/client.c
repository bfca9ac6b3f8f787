/* client -- see client.h. */
#include "keeper/client.h"

#include "base/mem.h"
#include "keeper/message.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum err_code ask(struct keeper_client *c, enum keeper_request kind, struct span in, struct buf *out,
                         struct err *e)
{
    struct keeper_message m = { .kind = (uint8_t)kind };
    buf_append(&m.payload, in.data, in.len);
    enum err_code code = keeper_send(c->fd, &m, e);
    if (!code)
        code = keeper_receive(c->fd, &m, e);
    if (!code && m.kind != kind)
        code = err_set(e, ERR_CORRUPT, "the keeper answered another request");
    if (!code && m.status)
        code = err_set(e, (enum err_code)m.status, "keeper: %s", buf_str(&m.payload));
    if (!code && !buf_append(out, buf_str(&m.payload), m.payload.len))
        code = err_set(e, ERR_LIMIT, "the keeper's answer is too long");
    if (m.payload.data)
        mem_wipe(m.payload.data, m.payload.len); /* it may be a key */
    buf_release(&m.payload);
    return code;
}

/* "<word> <value>" as the next line. */
static bool next_value(struct span *rest, const char *word, struct span *value)
{
    struct span line, key;
    return span_line(rest, &line) && span_cut(line, ' ', &key, value) && span_is(key, word);
}

static bool copy(struct span v, char *out, size_t room)
{
    if (v.len >= room)
        return false;
    memcpy(out, v.data, v.len);
    out[v.len] = '\0';
    return true;
}

enum err_code keeper_client_open(int fd, struct keeper_client *out, struct err *e)
{
    struct keeper_client c = { .fd = fd };
    struct buf hello = { 0 };
    struct span v;
    enum err_code code = ask(&c, KEEPER_HELLO, SPAN(""), &hello, e);
    struct span rest = { buf_str(&hello), hello.len };
    bool ok = !code && next_value(&rest, "boot", &v) && copy(v, c.boot, sizeof c.boot) &&
              next_value(&rest, "receipt", &v) && !key_public_parse(v, &c.receipt, e) &&
              next_value(&rest, "log", &v) && !key_public_parse(v, &c.log, e) &&
              next_value(&rest, "node", &v) && !key_public_parse(v, &c.node, e) &&
              next_value(&rest, "memory", &v) && copy(v, c.memory, sizeof c.memory) &&
              next_value(&rest, "sandbox", &v) && copy(v, c.sandbox, sizeof c.sandbox);
    if (!code && !ok)
        code = err_set(e, ERR_CORRUPT, "the keeper's first answer is malformed");
    if (!code)
        *out = c;
    buf_release(&hello);
    return code;
}

void keeper_client_close(struct keeper_client *c)
{
    close(c->fd);
    c->fd = -1;
}

enum err_code keeper_client_receipt(struct keeper_client *c, const struct receipt *r, struct buf *note, struct err *e)
{
    struct buf text = { 0 };
    struct receipt mine = *r;
    copy(span_of(c->boot), mine.boot, sizeof mine.boot);
    enum err_code code = receipt_text(&mine, &text, e);
    if (!code)
        code = ask(c, KEEPER_RECEIPT, (struct span){ text.data, text.len }, note, e);
    buf_release(&text);
    return code;
}

enum err_code keeper_client_node(struct keeper_client *c, struct span text, struct buf *note, struct err *e)
{
    return ask(c, KEEPER_NODE, text, note, e);
}

enum err_code keeper_client_end(struct keeper_client *c, struct buf *note, struct err *e)
{
    return ask(c, KEEPER_CLOSE, SPAN(""), note, e);
}

enum err_code keeper_client_tag(struct keeper_client *c, const char *month, const char *tenant,
                                uint8_t out[TENANT_TAG_BYTES], struct err *e)
{
    struct buf in = { 0 }, tag = { 0 };
    buf_printf(&in, "%s %s", month, tenant);
    enum err_code code = ask(c, KEEPER_TAG, (struct span){ in.data, in.len }, &tag, e);
    if (!code && tag.len != TENANT_TAG_BYTES)
        code = err_set(e, ERR_CORRUPT, "the keeper's tag has %zu bytes", tag.len);
    if (!code)
        memcpy(out, tag.data, TENANT_TAG_BYTES);
    buf_release(&in);
    buf_release(&tag);
    return code;
}

enum err_code keeper_client_storage(struct keeper_client *c, const char *purpose, uint8_t out[SEALBOX_KEY],
                                    struct err *e)
{
    struct buf key = { 0 };
    enum err_code code = ask(c, KEEPER_STORAGE, span_of(purpose), &key, e);
    if (!code && key.len != SEALBOX_KEY)
        code = err_set(e, ERR_CORRUPT, "the keeper's storage key has %zu bytes", key.len);
    if (!code)
        memcpy(out, key.data, SEALBOX_KEY);
    if (key.data)
        mem_wipe(key.data, key.len);
    buf_release(&key);
    return code;
}

enum err_code keeper_client_sign(void *ctx, struct span text, const struct tree_proof *grown, struct buf *note,
                                 struct err *e)
{
    struct buf in = { 0 };
    buf_putc(&in, (char)grown->count);
    buf_append(&in, grown->hash, (size_t)grown->count * HASH_BYTES);
    buf_append(&in, text.data, text.len);
    enum err_code code = ask(ctx, KEEPER_CHECKPOINT, (struct span){ in.data, in.len }, note, e);
    buf_release(&in);
    return code;
}
