/* audit_log -- the log from its leaves up: the root recomputed, the tiles compared, every checkpoint placed. */
#include "trust/audit_impl.h"

#include "base/file.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static size_t slot_of(const struct audit *a, const uint8_t hash[HASH_BYTES])
{
    size_t at;
    memcpy(&at, hash, sizeof at);
    for (at &= a->mask; a->slots[at].count && memcmp(a->slots[at].hash, hash, HASH_BYTES); at = (at + 1) & a->mask)
        ;
    return at;
}

struct leaf_slot *audit_leaf(struct audit *a, const uint8_t hash[HASH_BYTES])
{
    struct leaf_slot *s = &a->slots[slot_of(a, hash)];
    return s->count ? s : NULL;
}

static void take_leaf(struct audit *a, struct span leaf, uint64_t index)
{
    enum statement_type type;
    uint8_t hash[HASH_BYTES];
    if (!statement_leaf_parse(leaf, &type, hash)) {
        audit_fail(a, "leaf %" PRIu64 " of the log is none of ours", index);
        return;
    }
    if (!index) {
        memcpy(a->first_leaf, hash, HASH_BYTES);
        a->first_is_root = type == STATEMENT_ROOT;
    }
    struct leaf_slot *s = &a->slots[slot_of(a, hash)];
    if (s->count++)
        audit_fail(a, "leaf %" PRIu64 " repeats leaf %" PRIu64, index, s->index);
    else
        *s = (struct leaf_slot){ .index = index, .count = 1, .type = (uint8_t)type };
    memcpy(s->hash, hash, HASH_BYTES);
}

/* One bundle of entries: its leaves noted, their hashes compared with the tile and added to the edge. */
static enum err_code read_bundle(struct audit *a, uint64_t n, struct tree_edge *edge, struct err *e)
{
    struct buf b = { 0 };
    int count = 0, wrong = 0;
    enum err_code c = tiles_bundle(&a->tiles, n, &b, &count, e);
    struct span rest = { buf_str(&b), b.len }, leaf;
    for (int i = 0; !c && i < count && tiles_next(&rest, &leaf); i++) {
        uint8_t hash[HASH_BYTES], stored[HASH_BYTES];
        uint64_t index = n * TILE_WIDTH + (uint64_t)i;
        tree_leaf_hash(hash, leaf.data, leaf.len);
        if (tiles_hash(&a->tiles, 0, index, stored, NULL) || !code_same(hash, stored, HASH_BYTES))
            wrong++;
        take_leaf(a, leaf, index);
        tree_edge_add(edge, hash);
    }
    if (!c && wrong)
        audit_fail(a, "tile %" PRIu64 ": %d of its hashes do not match their entries: rewritten leaves", n, wrong);
    buf_release(&b);
    return c;
}

static enum err_code read_leaves(struct audit *a, struct err *e)
{
    struct tree_edge edge = { 0 };
    uint8_t root[HASH_BYTES];
    size_t slots = 1024;
    while (slots < a->head.size * 2 && slots < (size_t)1 << 40)
        slots *= 2;
    a->mask = slots - 1;
    a->slots = mem_try_new(slots, sizeof *a->slots);
    if (!a->slots)
        return err_set(e, ERR_LIMIT, "not enough memory for %" PRIu64 " leaves", a->head.size);
    for (uint64_t n = 0; n * TILE_WIDTH < a->head.size; n++) {
        struct err why = { 0 };
        if (read_bundle(a, n, &edge, &why)) {
            audit_fail(a, "the log's entries cannot be read: %s", why.text);
            break;
        }
    }
    a->r->leaves = edge.size;
    tree_edge_root(&edge, root);
    if (!code_same(root, a->head.root, HASH_BYTES))
        audit_fail(a, "the %" PRIu64 " leaves do not add up to the root in the checkpoint", edge.size);
    return ERR_OK;
}

/* Upper tiles are not evidence, but wrong ones would break the proofs the site hands out. */
static void check_upper_tiles(struct audit *a)
{
    uint8_t root[HASH_BYTES];
    struct err e;
    if (a->head.size && (tree_root(a->head.size, tiles_hash, &a->tiles, root, &e) ||
                         !code_same(root, a->head.root, HASH_BYTES)))
        audit_fail(a, "the log's upper tiles do not lead to its root");
}

static void check_other(struct audit *a, const char *name, struct span bytes)
{
    struct note *n = MEM_NEW(struct note);
    struct checkpoint cp;
    struct err e = { 0 };
    uint8_t root[HASH_BYTES];
    const struct key_public *log = NULL;
    if (note_parse(bytes, n, &e) || checkpoint_parse(n->text, &cp, &e)) {
        audit_fail(a, "checkpoints/%s: %s", name, e.text);
    } else {
        for (int i = 0; i < a->quorum->log_count; i++)
            if (span_is(cp.origin, a->quorum->logs[i].name))
                log = &a->quorum->logs[i];
        if (!log || note_verify(n, log, &e))
            audit_note(a, "checkpoints/%s is not signed by the log: it proves nothing", name);
        else if (cp.size > a->head.size)
            audit_fail(a, "checkpoints/%s has %" PRIu64 " leaves, the bundle %" PRIu64 ": the log was rolled back, or "
                       "leaves are missing", name, cp.size, a->head.size);
        else if (tree_root(cp.size, tiles_hash, &a->tiles, root, &e))
            audit_fail(a, "checkpoints/%s cannot be compared: %s", name, e.text);
        else if (!code_same(root, cp.root, HASH_BYTES))
            audit_fail(a, "checkpoints/%s has another root at %" PRIu64 " leaves: the log was forked", name, cp.size);
        a->r->checkpoints++;
    }
    mem_free(n);
}

static void check_others(struct audit *a)
{
    struct buf dir = { 0 };
    char **names = NULL;
    buf_printf(&dir, "%s/checkpoints", a->o->bundle);
    int n = audit_names(buf_str(&dir), "", &names);
    for (int i = 0; i < n; i++) {
        struct buf path = { 0 }, text = { 0 };
        buf_printf(&path, "%s/%s", buf_str(&dir), names[i]);
        if (!file_read(buf_str(&path), AUDIT_FILE_MAX, &text, NULL))
            check_other(a, names[i], (struct span){ buf_str(&text), text.len });
        buf_release(&path);
        buf_release(&text);
    }
    audit_names_free(names, n);
    buf_release(&dir);
}

/* The published checkpoint; without cosignatures enough, the log's own head still lets the rest be checked. */
static enum err_code open_head(struct audit *a, struct err *e)
{
    struct buf path = { 0 }, text = { 0 };
    struct note *n = MEM_NEW(struct note);
    struct quorum *alone = MEM_NEW(struct quorum);
    const struct quorum_time when = { a->o->now_s, a->o->now_s ? a->o->max_age_s : 0,
                                      a->o->now_s ? CHAIN_SKEW_S : INT64_MAX / 4 };
    int log = 0;
    struct err why = { 0 };
    buf_printf(&path, "%s/log/checkpoint", a->o->bundle);
    enum err_code c = file_read(buf_str(&path), AUDIT_FILE_MAX, &text, e);
    struct span bytes = { buf_str(&text), text.len };
    *alone = *a->quorum;
    alone->root = -1;
    if (!c && quorum_check(a->quorum, bytes, &when, n, &a->head, &log, &why)) {
        audit_fail(a, "the log's checkpoint is not to be believed: %s", why.text);
        c = quorum_check(alone, bytes, &when, n, &a->head, &log, e);
    }
    a->head.origin = (struct span){ 0 };
    a->r->checkpoints++;
    mem_free(alone);
    mem_free(n);
    buf_release(&text);
    buf_release(&path);
    return c;
}

enum err_code audit_log(struct audit *a, struct err *e)
{
    struct buf dir = { 0 };
    enum err_code c = open_head(a, e);
    if (c)
        return c;
    buf_printf(&dir, "%s/log", a->o->bundle);
    tiles_open(&a->tiles, buf_str(&dir), a->head.size);
    buf_release(&dir);
    c = read_leaves(a, e);
    if (!c) {
        check_upper_tiles(a);
        check_others(a);
    }
    return c;
}
