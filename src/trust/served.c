/* served -- see served.h. */
#include "trust/served.h"

#include "base/file.h"
#include "base/mem.h"
#include "trust/offer.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

enum { FILE_MAX = 1 << 20, SCAN_MAX = 65536 };

static enum err_code read_note(const struct site *s, enum statement_type type, const char *name, struct buf *out,
                               struct err *e)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/notes/%s/%s", s->pub, statement_name(type), name);
    enum err_code c = file_read(buf_str(&path), FILE_MAX, out, e);
    buf_release(&path);
    return c;
}

/* Every note of a type, by file; false from each ends the scan. */
typedef bool (*each_note)(void *arg, const char *name, struct span bytes);
static void scan(const struct site *s, enum statement_type type, each_note each, void *arg)
{
    struct buf dir = { 0 };
    buf_printf(&dir, "%s/notes/%s", s->pub, statement_name(type));
    DIR *d = opendir(buf_str(&dir));
    bool more = true;
    for (int i = 0; d && more && i < SCAN_MAX; i++) {
        const struct dirent *f = readdir(d);
        struct buf b = { 0 };
        if (!f)
            break;
        if (f->d_name[0] != '.' && !read_note(s, type, f->d_name, &b, NULL))
            more = each(arg, f->d_name, (struct span){ buf_str(&b), b.len });
        buf_release(&b);
    }
    if (d)
        closedir(d);
    buf_release(&dir);
}

struct revoking {
    struct chain *chain;
    int64_t now_s;
    enum err_code code;
    struct err *e;
};

static bool take_revocation(void *arg, const char *name, struct span bytes)
{
    struct revoking *r = arg;
    r->code = chain_revoke(r->chain, bytes, r->now_s, r->e);
    if (r->code)
        err_prefix(r->e, "notes/revoke/%.80s", name);
    return !r->code;
}

enum err_code served_chain(const struct site *s, int64_t now_s, struct chain *out, struct err *e)
{
    struct revoking r = { .chain = out, .now_s = now_s, .e = e };
    enum err_code c = site_chain(s, out, e);
    if (!c)
        c = chain_check_expiry(out, now_s, e);
    if (!c)
        scan(s, STATEMENT_REVOKE, take_revocation, &r);
    return c ? c : r.code;
}

/* The note is good now and its leaf is in the log. */
static enum err_code check(struct tlog *log, struct chain *c, enum statement_type type, struct span bytes,
                           int64_t now_s, struct note *n, struct statement *st, struct err *e)
{
    char text[STATEMENT_LEAF_MAX];
    uint64_t index;
    enum err_code code = chain_open(c, type, bytes, now_s, n, st, e);
    if (!code && offer_find_leaf(log, statement_leaf(type, bytes, text), &index, NULL))
        code = err_set(e, ERR_DENIED, "the newest %s note is not in the log: nothing unlogged is served",
                       statement_name(type));
    return code;
}

/* The note with the highest number, checked. *hash "-": there is none. */
static enum err_code newest(const struct site *s, struct tlog *log, struct chain *c, enum statement_type type,
                            int64_t now_s, char hash[HASH_TEXT_MAX], struct buf *bytes, struct note *n,
                            struct statement *st, struct err *e)
{
    uint64_t seq = 0;
    char name[HASH_HEX + 8];
    enum err_code code = site_latest(s, type, hash, &seq, e);
    if (code || !seq)
        return code;
    snprintf(name, sizeof name, "%.64s.note", hash + 7);
    code = read_note(s, type, name, bytes, e);
    return code ? code : check(log, c, type, (struct span){ buf_str(bytes), bytes->len }, now_s, n, st, e);
}

enum err_code served_policy(const struct site *s, struct tlog *log, struct chain *c, int64_t now_s,
                            struct served_policy *out, struct err *e)
{
    struct note *n = MEM_NEW(struct note);
    struct statement st;
    struct buf bytes = { 0 }, path = { 0 };
    uint8_t have[HASH_BYTES], want[HASH_BYTES];
    *out = (struct served_policy){ 0 };
    enum err_code code = newest(s, log, c, STATEMENT_POLICY, now_s, out->hash, &bytes, n, &st, e);
    if (!code && bytes.len) {
        struct span file = statement_get(&st, "file");
        code_unhash_text(want, file);
        buf_printf(&path, "%s/policies/%.*s.policy", s->pub, (int)file.len - 7, file.data + 7);
        code = file_read(buf_str(&path), POLICY_FILE_MAX, &out->text, e);
        if (!code)
            code = policy_parse_text((struct span){ buf_str(&out->text), out->text.len }, have, &out->policy, e);
        if (!code && !code_same(have, want, HASH_BYTES))
            code = err_set(e, ERR_DENIED, "%s is not the file that was signed", buf_str(&path));
    }
    mem_free(n);
    buf_release(&bytes);
    buf_release(&path);
    if (code)
        served_policy_release(out);
    return code;
}

void served_policy_release(struct served_policy *p)
{
    policy_free(p->policy);
    buf_release(&p->text);
    *p = (struct served_policy){ 0 };
}

struct search {
    const char *file;        /* NULL: by its weights */
    const uint8_t *program, *weights;
    uint64_t seq, newest; /* of the best so far; of all */
    struct buf bytes;
};

/* The hash the note gives for the file that is searched for: by its name, or by that hash itself. */
static bool listed(const struct statement *st, const struct search *q, uint8_t sha256[HASH_BYTES])
{
    struct span list = statement_get(st, "files"), pair, name, hash;
    while (statement_next(&list, &pair))
        if (span_cut(pair, '=', &name, &hash) && (!q->file || span_is(name, q->file)) &&
            code_unhash_text(sha256, hash) && (q->file || !memcmp(sha256, q->weights, HASH_BYTES)))
            return true;
    return false;
}

static bool take_model(void *arg, const char *name, struct span bytes)
{
    struct search *q = arg;
    struct note *n = MEM_NEW(struct note);
    struct statement st;
    uint8_t sha256[HASH_BYTES];
    if (!note_parse(bytes, n, NULL) && !statement_parse(n->text, &st, NULL) && st.type == STATEMENT_MODEL &&
        statement_uint(&st, "seq") > q->seq && listed(&st, q, sha256)) {
        q->seq = statement_uint(&st, "seq");
        buf_clear(&q->bytes);
        buf_append(&q->bytes, bytes.data, bytes.len);
    }
    mem_free(n);
    return true;
}

static enum err_code search_model(const struct site *s, struct tlog *log, struct chain *c, struct search *q,
                                  int64_t now_s, struct served_model *out, struct err *e)
{
    struct note *n = MEM_NEW(struct note);
    struct statement st;
    uint8_t hash[HASH_BYTES];
    enum err_code code = ERR_OK;
    *out = (struct served_model){ .hash = "-" };
    scan(s, STATEMENT_MODEL, take_model, q);
    struct span bytes = { buf_str(&q->bytes), q->bytes.len };
    if (bytes.len)
        code = check(log, c, STATEMENT_MODEL, bytes, now_s, n, &st, e);
    if (bytes.len && !code) {
        struct span name = statement_get(&st, "name");
        snprintf(out->name, sizeof out->name, "%.*s", (int)name.len, name.data);
        listed(&st, q, out->sha256);
        code_sha256(hash, bytes.data, bytes.len);
        code_hash_text(out->hash, hash);
    }
    mem_free(n);
    buf_release(&q->bytes);
    return code;
}

enum err_code served_model(const struct site *s, struct tlog *log, struct chain *c, const char *file, int64_t now_s,
                           struct served_model *out, struct err *e)
{
    return search_model(s, log, c, &(struct search){ .file = file }, now_s, out, e);
}

enum err_code served_weights(const struct site *s, struct tlog *log, struct chain *c, const uint8_t sha256[HASH_BYTES],
                             int64_t now_s, struct served_model *out, struct err *e)
{
    return search_model(s, log, c, &(struct search){ .weights = sha256 }, now_s, out, e);
}

/* The release lists a file of that hash, whatever its name. */
static bool ships(const struct statement *st, const uint8_t program[HASH_BYTES])
{
    struct span list = statement_get(st, "artifacts"), pair, name, hash;
    uint8_t have[HASH_BYTES];
    while (statement_next(&list, &pair))
        if (span_cut(pair, '=', &name, &hash) && code_unhash_text(have, hash) && !memcmp(have, program, HASH_BYTES))
            return true;
    return false;
}

static bool take_release(void *arg, const char *name, struct span bytes)
{
    struct search *q = arg;
    struct note *n = MEM_NEW(struct note);
    struct statement st;
    if (!note_parse(bytes, n, NULL) && !statement_parse(n->text, &st, NULL) && st.type == STATEMENT_RELEASE) {
        uint64_t seq = statement_uint(&st, "seq");
        q->newest = seq > q->newest ? seq : q->newest;
        if (seq > q->seq && ships(&st, q->program)) {
            q->seq = seq;
            buf_clear(&q->bytes);
            buf_append(&q->bytes, bytes.data, bytes.len);
        }
    }
    mem_free(n);
    return true;
}

enum err_code served_release(const struct site *s, struct tlog *log, struct chain *c, int64_t now_s,
                             const uint8_t program[HASH_BYTES], char hash[HASH_TEXT_MAX], bool *newer, struct err *e)
{
    struct search q = { .program = program };
    struct note *n = MEM_NEW(struct note);
    struct statement st;
    uint8_t raw[HASH_BYTES];
    enum err_code code = ERR_OK;
    snprintf(hash, HASH_TEXT_MAX, "-");
    scan(s, STATEMENT_RELEASE, take_release, &q);
    struct span bytes = { buf_str(&q.bytes), q.bytes.len };
    *newer = q.newest > q.seq;
    if (q.newest && !q.seq)
        code = err_set(e, ERR_DENIED, "no release note lists this program: install the release, or sign this one with "
                       "`tokenworks trust release`");
    if (!code && q.seq)
        code = check(log, c, STATEMENT_RELEASE, bytes, now_s, n, &st, e);
    if (!code && q.seq) {
        code_sha256(raw, bytes.data, bytes.len);
        code_hash_text(hash, raw);
    }
    mem_free(n);
    buf_release(&q.bytes);
    return code;
}
