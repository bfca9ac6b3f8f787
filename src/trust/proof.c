/* proof -- see proof.h. */
#include "trust/proof.h"

#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

static const char MAGIC[] = "c2sp.org/tlog-proof@v1";

static bool after(struct span line, const char *word, struct span *value)
{
    size_t n = strlen(word);
    if (line.len <= n || memcmp(line.data, word, n))
        return false;
    *value = (struct span){ line.data + n, line.len - n };
    return true;
}

enum err_code proof_parse(struct span text, struct proof *out, struct err *e)
{
    struct proof p = { 0 };
    struct span rest = text, line = { 0 }, value;
    if (text.len > PROOF_TEXT_MAX || !span_line(&rest, &line) || !span_is(line, MAGIC) || !span_line(&rest, &line))
        return err_set(e, ERR_CORRUPT, "not a tlog-proof: the first line is %s", MAGIC);
    if (after(line, "extra ", &p.extra)) {
        uint8_t *raw = mem_new(p.extra.len, 1);
        size_t n = p.extra.len;
        bool ok = code_unbase64(raw, &n, p.extra);
        mem_free(raw);
        if (!ok || !span_line(&rest, &line))
            return err_set(e, ERR_CORRUPT, "the proof's extra line is not base64");
    }
    if (!after(line, "index ", &value) || !code_uint(value, &p.index))
        return err_set(e, ERR_CORRUPT, "the proof's index line is missing or malformed");
    for (;;) {
        if (!span_line(&rest, &line))
            return err_set(e, ERR_CORRUPT, "the proof ends before its checkpoint");
        if (!line.len)
            break;
        if (p.path.count == TREE_LEVELS_MAX || !code_unbase64_exact(p.path.hash[p.path.count++], HASH_BYTES, line))
            return err_set(e, ERR_CORRUPT, "the proof's hashes are malformed or more than %d", TREE_LEVELS_MAX);
    }
    p.checkpoint = rest;
    *out = p;
    return ERR_OK;
}

void proof_write(const struct proof *p, struct buf *out)
{
    buf_printf(out, "%s\n", MAGIC);
    if (p->extra.len)
        buf_printf(out, "extra %.*s\n", (int)p->extra.len, p->extra.data);
    buf_printf(out, "index %" PRIu64 "\n", p->index);
    for (int i = 0; i < p->path.count; i++) {
        code_base64(out, p->path.hash[i], HASH_BYTES);
        buf_putc(out, '\n');
    }
    buf_putc(out, '\n');
    buf_append(out, p->checkpoint.data, p->checkpoint.len);
}

enum err_code proof_check(const struct proof *p, const struct quorum *q, const struct quorum_time *when,
                          struct span leaf, struct err *e)
{
    struct note *n = MEM_NEW(struct note);
    struct checkpoint cp;
    uint8_t hash[HASH_BYTES];
    int log = 0;
    enum err_code c = quorum_check(q, p->checkpoint, when, n, &cp, &log, e);
    tree_leaf_hash(hash, leaf.data, leaf.len);
    if (!c)
        c = tree_check_leaf(hash, p->index, cp.size, &p->path, cp.root, e);
    mem_free(n);
    return c;
}
