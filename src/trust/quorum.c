/* quorum -- see quorum.h. */
#include "trust/quorum.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { WORDS_MAX = QUORUM_MEMBERS_MAX + 3 };

struct words {
    int count;
    struct span word[WORDS_MAX];
};

static bool split_words(struct span line, struct words *out)
{
    size_t i = 0;
    out->count = 0;
    while (i < line.len) {
        while (i < line.len && (line.data[i] == ' ' || line.data[i] == '\t'))
            i++;
        size_t start = i;
        while (i < line.len && line.data[i] != ' ' && line.data[i] != '\t')
            i++;
        if (i == start)
            break;
        if (out->count == WORDS_MAX)
            return false;
        out->word[out->count++] = (struct span){ line.data + start, i - start };
    }
    return true;
}

static bool copy_word(char out[QUORUM_WORD_MAX], struct span w)
{
    if (w.len >= QUORUM_WORD_MAX)
        return false;
    memcpy(out, w.data, w.len);
    out[w.len] = '\0';
    return true;
}

static int find_node(const struct quorum *q, struct span name)
{
    for (int i = 0; i < q->node_count; i++)
        if (span_is(name, q->nodes[i].name))
            return i;
    return -1;
}

static enum err_code add_log(struct quorum *q, const struct words *w, struct err *e)
{
    struct key_public k;
    if (w->count < 2 || w->count > 3 || q->log_count == QUORUM_LOGS_MAX)
        return err_set(e, ERR_INVALID, "a log line reads: log VKEY [URL], at most %d of them", QUORUM_LOGS_MAX);
    enum err_code c = key_public_parse(w->word[1], &k, e);
    if (c)
        return c;
    if (k.type != KEY_NOTE)
        return err_set(e, ERR_INVALID, "%s is a witness key, not a log key", k.name);
    for (int i = 0; i < q->log_count; i++)
        if (code_same(q->logs[i].key, k.key, KEY_PUBLIC_BYTES))
            return err_set(e, ERR_INVALID, "the key of log %s is listed twice", k.name);
    if (w->count == 3 && !copy_word(q->log_urls[q->log_count], w->word[2]))
        return err_set(e, ERR_INVALID, "the URL of log %s is too long", k.name);
    q->logs[q->log_count++] = k;
    return ERR_OK;
}

static enum err_code new_node(struct quorum *q, struct span name, struct quorum_node **out, struct err *e)
{
    struct quorum_node *n = &q->nodes[q->node_count];
    if (q->node_count == QUORUM_NAMES_MAX)
        return err_set(e, ERR_LIMIT, "more than %d witnesses and groups", QUORUM_NAMES_MAX);
    if (span_is(name, "none") || find_node(q, name) >= 0 || !copy_word(n->name, name))
        return err_set(e, ERR_INVALID, "the name %.*s is taken, reserved or too long", (int)name.len, name.data);
    *out = n;
    return ERR_OK;
}

static enum err_code add_witness(struct quorum *q, const struct words *w, struct err *e)
{
    struct quorum_node *n = NULL;
    if (w->count < 3 || w->count > 4)
        return err_set(e, ERR_INVALID, "a witness line reads: witness NAME VKEY [URL]");
    enum err_code c = new_node(q, w->word[1], &n, e);
    if (!c)
        c = key_public_parse(w->word[2], &n->key, e);
    if (c)
        return c;
    if (n->key.type != KEY_COSIGNATURE)
        return err_set(e, ERR_INVALID, "the key of witness %s is not of type 0x04", n->name);
    for (int i = 0; i < q->node_count; i++)
        if (!q->nodes[i].is_group && code_same(q->nodes[i].key.key, n->key.key, KEY_PUBLIC_BYTES))
            return err_set(e, ERR_INVALID, "witnesses %s and %s have one key", q->nodes[i].name, n->name);
    if (w->count == 4 && !copy_word(n->url, w->word[3]))
        return err_set(e, ERR_INVALID, "the URL of witness %s is too long", n->name);
    q->node_count++;
    return ERR_OK;
}

static enum err_code add_group(struct quorum *q, const struct words *w, struct err *e)
{
    struct quorum_node *n = NULL;
    uint64_t k = 0;
    if (w->count < 4)
        return err_set(e, ERR_INVALID, "a group line reads: group NAME all|any|K MEMBER...");
    enum err_code c = new_node(q, w->word[1], &n, e);
    if (c)
        return c;
    n->is_group = true;
    n->member_count = w->count - 3;
    for (int i = 0; i < n->member_count; i++) {
        struct span name = w->word[3 + i];
        int at = find_node(q, name);
        if (at < 0 || q->nodes[at].is_member)
            return err_set(e, ERR_INVALID, "group %s: %.*s is not defined above, or already in a group", n->name,
                           (int)name.len, name.data);
        q->nodes[at].is_member = true;
        n->members[i] = at;
    }
    if (span_is(w->word[2], "all"))
        k = (uint64_t)n->member_count;
    else if (span_is(w->word[2], "any"))
        k = 1;
    else if (!code_uint(w->word[2], &k) || k < 1 || k > (uint64_t)n->member_count)
        return err_set(e, ERR_INVALID, "group %s needs all, any or 1 to %d", n->name, n->member_count);
    n->need = (int)k;
    q->node_count++;
    return ERR_OK;
}

static enum err_code set_quorum(struct quorum *q, const struct words *w, bool *seen, struct err *e)
{
    if (w->count != 2 || *seen)
        return err_set(e, ERR_INVALID, "exactly one line reads: quorum NAME, or quorum none");
    *seen = true;
    q->root = span_is(w->word[1], "none") ? -1 : find_node(q, w->word[1]);
    if (q->root < 0 && !span_is(w->word[1], "none"))
        return err_set(e, ERR_INVALID, "the quorum %.*s is not defined above", (int)w->word[1].len, w->word[1].data);
    return ERR_OK;
}

static enum err_code parse_line(struct quorum *q, const struct words *w, bool *seen, struct err *e)
{
    if (!w->count || w->word[0].data[0] == '#')
        return ERR_OK;
    if (span_is(w->word[0], "log"))
        return add_log(q, w, e);
    if (span_is(w->word[0], "witness"))
        return add_witness(q, w, e);
    if (span_is(w->word[0], "group"))
        return add_group(q, w, e);
    if (span_is(w->word[0], "quorum"))
        return set_quorum(q, w, seen, e);
    return err_set(e, ERR_INVALID, "unknown line '%.*s'; one begins with log, witness, group or quorum",
                   (int)(w->word[0].len > 40 ? 40 : w->word[0].len), w->word[0].data);
}

enum err_code quorum_parse(struct span text, struct quorum *out, struct err *e)
{
    struct quorum *q = MEM_NEW(struct quorum);
    struct span rest = text, line;
    struct words w;
    bool seen = false;
    enum err_code c = ERR_OK;
    if (text.len > QUORUM_TEXT_MAX || (text.len && text.data[text.len - 1] != '\n'))
        c = err_set(e, ERR_INVALID, "the trust policy must be lines, each ended, at most %d bytes", QUORUM_TEXT_MAX);
    for (int number = 1; !c && span_line(&rest, &line); number++) {
        for (size_t i = 0; !c && i < line.len; i++)
            if (((unsigned char)line.data[i] < 0x20 && line.data[i] != '\t') || line.data[i] == 0x7f)
                c = err_set(e, ERR_INVALID, "a control character");
        if (!c && !split_words(line, &w) && line.data[0] != '#')
            c = err_set(e, ERR_LIMIT, "more than %d words", WORDS_MAX);
        if (!c)
            c = parse_line(q, &w, &seen, e);
        if (c)
            err_prefix(e, "trust policy, line %d", number);
    }
    if (!c && !seen)
        c = err_set(e, ERR_INVALID, "the trust policy has no quorum line");
    if (!c)
        *out = *q;
    mem_free(q);
    return c;
}

static bool fresh(int64_t t, const struct quorum_time *when)
{
    return t <= when->now_s + when->skew_s && (!when->max_age_s || t >= when->now_s - when->max_age_s);
}

/* Nodes come after their members, so one pass settles them all. A wrong cosignature is an error, not a lack. */
static enum err_code count(const struct quorum *q, const struct note *n, const struct quorum_time *when, struct err *e)
{
    bool met[QUORUM_NAMES_MAX] = { false };
    for (int i = 0; i < q->node_count; i++) {
        const struct quorum_node *node = &q->nodes[i];
        int64_t t = 0;
        if (!node->is_group) {
            enum err_code c = cosign_verify(n, &node->key, &t, e);
            if (c == ERR_DENIED)
                return c;
            met[i] = !c && fresh(t, when);
            continue;
        }
        int have = 0;
        for (int m = 0; m < node->member_count; m++)
            have += met[node->members[m]];
        met[i] = have >= node->need;
    }
    if (q->root >= 0 && !met[q->root])
        return err_set(e, ERR_DENIED, "the checkpoint lacks the cosignatures that quorum '%s' asks for%s",
                       q->nodes[q->root].name, when->max_age_s ? ", or they are too old" : "");
    return ERR_OK;
}

enum err_code quorum_check(const struct quorum *q, struct span bytes, const struct quorum_time *when, struct note *n,
                           struct checkpoint *out, int *log_index, struct err *e)
{
    struct checkpoint cp;
    enum err_code c = note_parse(bytes, n, e);
    if (!c)
        c = checkpoint_parse(n->text, &cp, e);
    if (c)
        return c;
    int found = -1;
    for (int i = 0; !c && i < q->log_count && found < 0; i++) {
        if (!span_is(cp.origin, q->logs[i].name) || !note_find(n, &q->logs[i]))
            continue;
        c = note_verify(n, &q->logs[i], e);
        found = i;
    }
    if (!c && found < 0)
        c = err_set(e, ERR_DENIED, "the checkpoint of %.*s is not signed by a log of the trust policy",
                    (int)cp.origin.len, cp.origin.data);
    if (!c)
        c = count(q, n, when, e);
    if (c)
        return c;
    *out = cp;
    *log_index = found;
    return ERR_OK;
}
