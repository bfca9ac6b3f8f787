/* offer -- see offer.h. */
#include "trust/offer.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const char *const names[OFFER_PARTS] = { "node", "release", "policy", "model" };

enum statement_type offer_type(enum offer_part part)
{
    static const enum statement_type types[OFFER_PARTS] = { STATEMENT_NODE, STATEMENT_RELEASE, STATEMENT_POLICY,
                                                            STATEMENT_MODEL };
    return types[part];
}

void offer_release(struct offer *o)
{
    buf_release(&o->root);
    buf_release(&o->root_proof);
    buf_release(&o->checkpoint);
    for (int i = 0; i < OFFER_PARTS; i++) {
        buf_release(&o->note[i]);
        buf_release(&o->proof[i]);
    }
    *o = (struct offer){ 0 };
}

enum err_code offer_find_leaf(struct tlog *log, struct span leaf, uint64_t *index, struct err *e)
{
    uint64_t size = tlog_size(log);
    for (uint64_t b = (size + TILE_WIDTH - 1) / TILE_WIDTH; b > 0; b--) {
        struct buf bundle = { 0 };
        int count = 0;
        bool found = false;
        enum err_code c = tiles_bundle(tlog_tiles(log), b - 1, &bundle, &count, e);
        struct span rest = { buf_str(&bundle), bundle.len }, entry;
        for (int i = 0; !c && i < count && tiles_next(&rest, &entry); i++)
            if (span_same(entry, leaf)) {
                *index = (b - 1) * TILE_WIDTH + (uint64_t)i;
                found = true;
            }
        buf_release(&bundle);
        if (c || found)
            return c;
    }
    return err_set(e, ERR_NOT_FOUND, "the note is not in the log");
}

static enum err_code prove_note(struct tlog *log, enum statement_type type, const struct buf *note, struct buf *proof,
                                struct err *e)
{
    char text[STATEMENT_LEAF_MAX];
    uint64_t index = 0;
    struct span leaf = statement_leaf(type, (struct span){ buf_str(note), note->len }, text);
    enum err_code c = offer_find_leaf(log, leaf, &index, e);
    return c ? c : tlog_prove(log, index, proof, e);
}

static enum err_code read_in(const char *dir, const char *name, struct buf *out, struct err *e)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/%s", dir, name);
    enum err_code c = file_read(buf_str(&path), OFFER_BYTES_MAX, out, e);
    buf_release(&path);
    return c;
}

enum err_code offer_build(const struct site *s, struct tlog *log, const char *const hashes[OFFER_PARTS],
                          uint64_t since, struct offer *out, struct err *e)
{
    struct offer o = { .since = since };
    struct note *n = MEM_NEW(struct note);
    struct checkpoint cp = { 0 };
    enum err_code c = read_in(s->pub, "root.note", &o.root, e);
    if (!c)
        c = read_in(s->pub, "log/checkpoint", &o.checkpoint, e);
    if (!c)
        c = note_parse((struct span){ o.checkpoint.data, o.checkpoint.len }, n, e);
    if (!c)
        c = checkpoint_parse(n->text, &cp, e);
    if (!c)
        c = prove_note(log, STATEMENT_ROOT, &o.root, &o.root_proof, e);
    if (!c)
        c = tree_prove_grown(since, cp.size, tiles_hash, tlog_tiles(log), &o.grown, e);
    for (int i = 0; !c && i < OFFER_PARTS; i++) {
        char name[160];
        uint8_t hash[HASH_BYTES];
        if (!code_unhash_text(hash, span_of(hashes[i])))
            c = err_set(e, ERR_INVALID, "no %s note is named", names[i]);
        snprintf(name, sizeof name, "notes/%s/%.64s.note", names[i], c ? "" : hashes[i] + 7);
        if (!c)
            c = read_in(s->pub, name, &o.note[i], e);
        if (!c)
            c = prove_note(log, offer_type((enum offer_part)i), &o.note[i], &o.proof[i], e);
    }
    mem_free(n);
    if (c)
        offer_release(&o);
    else
        *out = o;
    return c;
}

static void put(struct buf *json, const char *key, const struct buf *value)
{
    buf_printf(json, "\"%s\":", key);
    jsonx_quote(buf_str(value), value->len, json);
}

void offer_write(const struct offer *o, struct buf *json)
{
    buf_puts(json, "{");
    put(json, "root", &o->root);
    buf_puts(json, ",");
    put(json, "root_proof", &o->root_proof);
    buf_puts(json, ",");
    put(json, "checkpoint", &o->checkpoint);
    buf_printf(json, ",\"since\":%llu,\"grown\":[", (unsigned long long)o->since);
    for (int i = 0; i < o->grown.count; i++) {
        buf_puts(json, i ? ",\"" : "\"");
        code_base64(json, o->grown.hash[i], HASH_BYTES);
        buf_puts(json, "\"");
    }
    buf_puts(json, "]");
    for (int i = 0; i < OFFER_PARTS; i++) {
        buf_printf(json, ",\"%s\":{", names[i]);
        put(json, "note", &o->note[i]);
        buf_puts(json, ",");
        put(json, "proof", &o->proof[i]);
        buf_puts(json, "}");
    }
    buf_puts(json, "}");
}

static bool take(const json_t *obj, const char *key, struct buf *out)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_string(v) && buf_append(out, json_string_value(v), json_string_length(v));
}

static bool take_grown(const json_t *list, struct tree_proof *out)
{
    if (!json_is_array(list) || json_array_size(list) > TREE_LEVELS_MAX)
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || !code_unbase64_exact(out->hash[out->count++], HASH_BYTES, span_of(text)))
            return false;
    }
    return true;
}

enum err_code offer_parse(struct span json, struct offer *out, struct err *e)
{
    struct offer o = { 0 };
    int64_t since = 0;
    json_t *v = json.len <= OFFER_BYTES_MAX ? jsonx_parse(json.data, json.len, e) : NULL;
    bool ok = v && take(v, "root", &o.root) && take(v, "root_proof", &o.root_proof) &&
              take(v, "checkpoint", &o.checkpoint) && take_grown(json_object_get(v, "grown"), &o.grown) &&
              !jsonx_get_int(v, "since", 0, INT64_MAX, &since, e);
    o.since = (uint64_t)since;
    for (int i = 0; ok && i < OFFER_PARTS; i++) {
        const json_t *part = json_object_get(v, names[i]);
        ok = take(part, "note", &o.note[i]) && take(part, "proof", &o.proof[i]);
    }
    json_decref(v);
    if (!ok) {
        offer_release(&o);
        return err_set(e, ERR_CORRUPT, "the site's offer is malformed");
    }
    *out = o;
    return ERR_OK;
}
