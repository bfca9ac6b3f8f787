/* sealed -- see sealed.h: one exchange, from the opened request to the sealed answer. */
#include "engine/sealed.h"

#include "base/json.h"
#include "base/mem.h"
#include "engine/sealed_impl.h"

#include <stdio.h>
#include <string.h>

static const char DONE[] = "data: [DONE]\n\n";

void sealed_free(struct sealed *s)
{
    if (!s)
        return;
    sealed_forget(s);
    ohttp_stream_release(&s->stream);
    ohttp_wipe(&s->x);
    buf_release(&s->held);
    mem_free(s);
}

void sealed_forget(struct sealed *s)
{
    bhttp_release(&s->message);
    if (s->plain.data)
        mem_wipe(s->plain.data, s->plain.len);
    buf_release(&s->plain);
}

bool sealed_refused(const struct sealed *s)
{
    return !s->allow;
}

const char *sealed_path(const struct sealed *s)
{
    return s->path;
}

struct span sealed_body(const struct sealed *s)
{
    return s->message.content;
}

const char *sealed_tenant(const struct sealed *s)
{
    return s->tenant;
}

const char *sealed_content_type(const struct sealed *s)
{
    return s->x.chunked ? "message/ohttp-chunked-res" : "message/ohttp-res";
}

void sealed_head(struct sealed *s, int status, const char *type, bool stream)
{
    s->status = status;
    s->events = stream && !strncmp(type, "text/event-stream", 17);
    s->flows = stream && s->x.chunked && s->events; /* others wait whole for their receipt, which stands in the head */
    snprintf(s->type, sizeof s->type, "%s", type);
}

/* One chunk outside for what was gathered inside. */
static void put_chunk(struct sealed *s, struct buf *inner, bool final, struct buf *out)
{
    struct err e = { 0 };
    for (size_t at = 0; inner->len - at > OHTTP_CHUNK_MAX / 2; at += OHTTP_CHUNK_MAX / 2)
        ohttp_write_chunk(&s->stream, (struct span){ inner->data + at, OHTTP_CHUNK_MAX / 2 }, false, out, &e);
    size_t last = inner->len ? (inner->len - 1) / (OHTTP_CHUNK_MAX / 2) * (OHTTP_CHUNK_MAX / 2) : 0;
    ohttp_write_chunk(&s->stream, (struct span){ buf_str(inner) + last, inner->len - last }, final, out, &e);
}

static void begin_response(struct sealed *s, const struct bhttp_field *fields, int count, struct buf *inner,
                           struct buf *out)
{
    struct err e = { 0 };
    ohttp_response_writer(&s->x, NULL, &s->stream, out, &e);
    bhttp_stream_head(s->status, fields, count, inner);
    s->begun = true;
}

void sealed_content(struct sealed *s, struct buf *plain, struct buf *out)
{
    struct buf inner = { 0 };
    const size_t done = sizeof DONE - 1;
    commit_add(&s->response, buf_str(plain), plain->len);
    if (!s->flows) {
        buf_append(&s->held, buf_str(plain), plain->len);
        buf_clear(plain);
        return;
    }
    size_t n = plain->len;
    if (n >= done && !memcmp(plain->data + n - done, DONE, done)) { /* the event that ends it waits for the receipt */
        n -= done;
        buf_puts(&s->held, DONE);
    }
    if (n && !s->begun) {
        const struct bhttp_field type = { SPAN("content-type"), span_of(s->type) };
        begin_response(s, &type, 1, &inner, out);
    }
    if (n) {
        bhttp_stream_content((struct span){ plain->data, n }, &inner);
        put_chunk(s, &inner, false, out);
    }
    buf_clear(plain);
    buf_release(&inner);
}

static void put_hex(struct buf *json, const char *key, const uint8_t hash[HASH_BYTES])
{
    char hex[HASH_HEX + 1];
    code_hex(hex, hash, HASH_BYTES);
    buf_printf(json, ",\"%s\":\"%s\"", key, hex);
}

void sealed_draft(const struct sealed *s, bool with_response, struct buf *json)
{
    struct commit c = s->response;
    uint8_t hash[HASH_BYTES];
    buf_printf(json, "{\"allow\":%s,\"rule\":\"%s\",\"class\":\"%s\",\"tenant\":", s->allow ? "true" : "false", s->rule,
               s->data_class);
    jsonx_quote(s->tenant, strlen(s->tenant), json);
    put_hex(json, "request", s->request);
    buf_printf(json, ",\"policy\":\"%s\"", s->policy);
    if (s->is_signed)
        put_hex(json, "reqsig", s->reqsig);
    commit_end(&c, hash);
    if (with_response)
        put_hex(json, "response", hash);
    buf_puts(json, "}");
}

void sealed_finish(struct sealed *s, struct span note, struct buf *out)
{
    struct buf inner = { 0 }, base64 = { 0 };
    struct err e = { 0 };
    code_base64(&base64, note.data, note.len);
    const struct bhttp_field fields[2] = { { SPAN("content-type"), span_of(s->type) },
                                           { SPAN("tw-receipt"), { buf_str(&base64), base64.len } } };
    if (!s->x.chunked) {
        struct bhttp_message m = { .status = s->status, .field_count = 2,
                                   .content = { buf_str(&s->held), s->held.len } };
        memcpy(m.fields, fields, sizeof fields);
        bhttp_write_response(&m, &inner);
        ohttp_seal_response(&s->x, NULL, (struct span){ buf_str(&inner), inner.len }, out, &e);
    } else {
        if (!s->begun) {
            begin_response(s, fields, 2, &inner, out);
        } else {
            struct buf comment = { 0 };
            buf_printf(&comment, ": tw-receipt %s\n\n", buf_str(&base64));
            bhttp_stream_content((struct span){ comment.data, comment.len }, &inner);
            buf_release(&comment);
        }
        if (s->held.len)
            bhttp_stream_content((struct span){ s->held.data, s->held.len }, &inner);
        bhttp_stream_end(&inner);
        put_chunk(s, &inner, true, out);
    }
    buf_release(&inner);
    buf_release(&base64);
}
