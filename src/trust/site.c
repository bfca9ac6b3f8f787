/* site -- see site.h. */
#include "trust/site.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "trust/inbox.h"
#include "trust/modelsig.h"
#include "trust/oplog.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOTE_FILE_MAX = 1 << 20, ROOTS = 3, ROOT_THRESHOLD = 2, NOTES_SCAN_MAX = 65536 };
enum { ROOT_LIFE_S = 365 * 86400, INBOX_WAIT_MS = 20000 };

static const char *const root_names[ROOTS] = { "root-a", "root-b", "root-c" };
static const char *const role_names[] = { "release", "model", "policy", "revoke", "log", "node" };

void site_open(struct site *s, const char *dir)
{
    struct buf b = { 0 };
    s->dir = mem_strdup(dir);
    buf_printf(&b, "%s/public", dir);
    s->pub = buf_take(&b);
}

void site_close(struct site *s)
{
    mem_free(s->dir);
    mem_free(s->pub);
    *s = (struct site){ 0 };
}

static enum err_code write_in(const char *dir, const char *name, const void *data, size_t n, struct err *e)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/%s", dir, name);
    enum err_code c = file_write(buf_str(&path), data, n, e);
    buf_release(&path);
    return c;
}

static enum err_code read_in(const char *dir, const char *name, struct buf *out, struct err *e)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/%s", dir, name);
    enum err_code c = file_read(buf_str(&path), NOTE_FILE_MAX, out, e);
    buf_release(&path);
    return c;
}

/* ---- keys */

static enum err_code save_key(const struct site *s, const char *role, const struct key_secret *k, struct err *e)
{
    struct buf path = { 0 };
    char text[KEY_TEXT_MAX + 1], name[64];
    key_secret_text(k, text);
    size_t n = strlen(text);
    text[n++] = '\n';
    buf_printf(&path, "%s/keys", s->dir);
    snprintf(name, sizeof name, "%s.key", role);
    enum err_code c = write_in(buf_str(&path), name, text, n, e);
    mem_wipe(text, sizeof text);
    buf_release(&path);
    return c;
}

enum err_code site_there(const struct site *s, struct err *e)
{
    struct buf root = { 0 };
    buf_printf(&root, "%s/root.note", s->pub);
    bool there = !access(buf_str(&root), F_OK);
    buf_release(&root);
    return there ? ERR_OK : err_set(e, ERR_NOT_FOUND, "%s holds no site: `tokenworks trust init --site NAME` makes one",
                                    s->dir);
}

enum err_code site_key(const struct site *s, const char *role, struct key_secret *out, struct err *e)
{
    struct buf b = { 0 };
    char name[96];
    snprintf(name, sizeof name, "keys/%s.key", role);
    enum err_code c = read_in(s->dir, name, &b, e);
    if (c && !site_there(s, e))
        err_prefix(e, "the %s key is needed (it may have moved offline)", role);
    if (!c && (!b.len || b.data[b.len - 1] != '\n'))
        c = err_set(e, ERR_CORRUPT, "%s is not a key file", name);
    if (!c)
        c = key_secret_parse((struct span){ b.data, b.len - 1 }, out, e);
    if (b.data)
        mem_wipe(b.data, b.len);
    buf_release(&b);
    return c;
}

/* keys/<name>, 32 bytes of chance in base64, made when it is not there. */
static enum err_code need_secret(const struct site *s, const char *name, uint8_t key[32], struct err *e)
{
    struct buf b = { 0 }, path = { 0 };
    char file[96];
    snprintf(file, sizeof file, "keys/%s", name);
    buf_printf(&path, "%s/%s", s->dir, file);
    bool there = !access(buf_str(&path), F_OK);
    enum err_code c = there ? read_in(s->dir, file, &b, e) : ERR_OK;
    if (!there) {
        rng_system(key, 32);
        code_base64(&b, key, 32);
        buf_putc(&b, '\n');
        c = write_in(s->dir, file, b.data, b.len, e);
    } else if (!c && (!b.len || !code_unbase64_exact(key, 32, (struct span){ b.data, b.len - 1 }))) {
        c = err_set(e, ERR_CORRUPT, "%s is not a key of 32 bytes", file);
    }
    if (b.data)
        mem_wipe(b.data, b.len);
    buf_release(&b);
    buf_release(&path);
    return c;
}

enum err_code site_pseudonym(const struct site *s, const char *month, uint8_t key[32], struct err *e)
{
    char name[64];
    snprintf(name, sizeof name, "pseudonym-%s.key", month);
    return need_secret(s, name, key, e);
}

enum err_code site_storage(const struct site *s, uint8_t key[32], struct err *e)
{
    return need_secret(s, "storage.key", key, e);
}

/* ---- init */

struct new_keys {
    struct key_secret roots[ROOTS], roles[MEM_COUNT(role_names)];
};

static enum err_code make_keys(const struct site *s, const char *site, struct new_keys *k, struct err *e)
{
    char name[KEY_NAME_MAX + 1];
    enum err_code c = ERR_OK;
    for (int i = 0; !c && i < ROOTS; i++) {
        snprintf(name, sizeof name, "%s/%s", site, root_names[i]);
        c = key_secret_new(name, KEY_NOTE, NULL, &k->roots[i], e);
        if (!c)
            c = save_key(s, root_names[i], &k->roots[i], e);
    }
    for (size_t i = 0; !c && i < MEM_COUNT(role_names); i++) {
        snprintf(name, sizeof name, "%s/%s", site, role_names[i]);
        c = key_secret_new(name, KEY_NOTE, NULL, &k->roles[i], e);
        if (!c)
            c = save_key(s, role_names[i], &k->roles[i], e);
    }
    return c;
}

static enum err_code make_other_keys(const struct site *s, struct err *e)
{
    struct buf dir = { 0 }, secret = { 0 }, pub = { 0 }, text = { 0 };
    uint8_t auditor[OPLOG_KEY_BYTES], auditor_pub[OPLOG_KEY_BYTES];
    buf_printf(&dir, "%s/keys", s->dir);
    enum err_code c = modelsig_keygen(&secret, &pub, e);
    if (!c)
        c = write_in(buf_str(&dir), "model-p256.pem", secret.data, secret.len, e);
    if (!c)
        c = write_in(s->pub, "model-p256.pub.pem", pub.data, pub.len, e);
    oplog_keypair(auditor, auditor_pub);
    code_base64(&text, auditor, sizeof auditor);
    buf_putc(&text, '\n');
    if (!c)
        c = write_in(buf_str(&dir), "auditor.key", text.data, text.len, e);
    mem_wipe(text.data, text.len);
    buf_clear(&text);
    code_base64(&text, auditor_pub, sizeof auditor_pub);
    buf_putc(&text, '\n');
    if (!c)
        c = write_in(s->pub, "auditor.pub", text.data, text.len, e);
    if (secret.data)
        mem_wipe(secret.data, secret.len);
    mem_wipe(auditor, sizeof auditor);
    struct buf *const all[] = { &dir, &secret, &pub, &text };
    for (size_t i = 0; i < MEM_COUNT(all); i++)
        buf_release(all[i]);
    return c;
}

static enum err_code root_note(const struct site_plan *p, const struct new_keys *k, struct buf *note, struct err *e)
{
    char vkeys[ROOTS + MEM_COUNT(role_names)][KEY_TEXT_MAX], created[TIME_TEXT_MAX], expires[TIME_TEXT_MAX];
    struct buf roots = { 0 }, text = { 0 };
    uint8_t sig[KEY_SIG_BYTES];
    for (int i = 0; i < ROOTS; i++) {
        key_public_text(&k->roots[i].pub, vkeys[i]);
        buf_printf(&roots, "%s%s", i ? "," : "", vkeys[i]);
    }
    for (size_t i = 0; i < MEM_COUNT(role_names); i++)
        key_public_text(&k->roles[i].pub, vkeys[ROOTS + i]);
    code_time_text(created, p->now_s);
    code_time_text(expires, p->now_s + ROOT_LIFE_S);
    const struct span v[] = { span_of(p->name), SPAN("development"), SPAN("1"), { roots.data, roots.len }, SPAN("2"),
                              span_of(vkeys[3]), span_of(vkeys[4]), span_of(vkeys[5]), span_of(vkeys[6]),
                              span_of(vkeys[7]), span_of(vkeys[8]), span_of(created), span_of(expires) };
    enum err_code c = statement_write(STATEMENT_ROOT, v, MEM_COUNT(v), &text, e);
    if (!c) {
        buf_append(note, text.data, text.len);
        buf_putc(note, '\n');
    }
    for (int i = 0; !c && i < ROOT_THRESHOLD; i++) {
        key_sign(&k->roots[i], text.data, text.len, sig);
        note_add_sig(note, &k->roots[i].pub, sig, sizeof sig);
    }
    buf_release(&roots);
    buf_release(&text);
    return c;
}

static enum err_code trust_policy(const struct site *s, const struct site_plan *p, const struct key_public *log,
                                  struct err *e)
{
    struct buf t = { 0 };
    struct quorum *q = MEM_NEW(struct quorum);
    char vkey[KEY_TEXT_MAX];
    key_public_text(log, vkey);
    buf_printf(&t, "# Whom to believe about %s: its log, and the witnesses that must have seen a checkpoint.\nlog %s\n",
               p->name, vkey);
    for (int i = 0; i < p->witness_count; i++)
        buf_printf(&t, "witness w%d %s\n", i + 1, p->witnesses[i]);
    if (p->witness_count) {
        buf_printf(&t, "group majority %d", p->witness_count / 2 + 1);
        for (int i = 0; i < p->witness_count; i++)
            buf_printf(&t, " w%d", i + 1);
    }
    buf_puts(&t, p->witness_count ? "\nquorum majority\n" : "quorum none\n");
    enum err_code c = quorum_parse((struct span){ t.data, t.len }, q, e);
    if (!c)
        c = write_in(s->pub, "trust.policy", t.data, t.len, e);
    mem_free(q);
    buf_release(&t);
    return c;
}

static enum err_code make_folders(const struct site *s, struct err *e)
{
    static const char *const names[] = { "keys", "public/log", "public/receipts", "public/policies",
                                         "public/checkpoints", "public/notes", "public/models" };
    enum err_code c = ERR_OK;
    for (size_t i = 0; !c && i < MEM_COUNT(names); i++) {
        struct buf path = { 0 };
        buf_printf(&path, "%s/%s", s->dir, names[i]);
        c = file_make_dirs(buf_str(&path), e);
        buf_release(&path);
    }
    return c;
}

enum err_code site_init(struct site *s, const struct site_plan *p, struct err *e)
{
    struct buf root = { 0 }, path = { 0 };
    struct new_keys *k = MEM_NEW(struct new_keys);
    struct tlog *log = NULL;
    char leaf[STATEMENT_LEAF_MAX];
    uint64_t index;
    buf_printf(&path, "%s/root.note", s->pub);
    enum err_code c = access(buf_str(&path), F_OK) ? ERR_OK
                                                   : err_set(e, ERR_INVALID, "%s holds a site already", s->dir);
    if (!c)
        c = make_folders(s, e);
    if (!c)
        c = make_keys(s, p->name, k, e);
    if (!c)
        c = make_other_keys(s, e);
    if (!c)
        c = root_note(p, k, &root, e);
    if (!c)
        c = trust_policy(s, p, &k->roles[4].pub, e);
    if (!c)
        c = site_log(s, &k->roles[4], &log, e);
    if (!c) /* the log begins with the root, so that whoever believes the log has the root */
        c = tlog_append(log, statement_leaf(STATEMENT_ROOT, (struct span){ root.data, root.len }, leaf), &index, e);
    if (!c)
        c = tlog_commit(log, e);
    if (!c)
        c = write_in(s->pub, "root.note", root.data, root.len, e);
    tlog_close(log);
    mem_wipe(k, sizeof *k);
    mem_free(k);
    buf_release(&root);
    buf_release(&path);
    return c;
}

/* ---- use */

enum err_code site_chain(const struct site *s, struct chain *out, struct err *e)
{
    struct buf b = { 0 };
    enum err_code c = read_in(s->pub, "root.note", &b, e);
    if (!c)
        c = chain_init(out, (struct span){ b.data, b.len }, e);
    buf_release(&b);
    return c;
}

enum err_code site_quorum(const struct site *s, struct quorum *out, struct err *e)
{
    struct buf b = { 0 };
    enum err_code c = read_in(s->pub, "trust.policy", &b, e);
    if (!c)
        c = quorum_parse((struct span){ b.data, b.len }, out, e);
    buf_release(&b);
    return c;
}

bool site_is_witnessed(const struct site *s)
{
    struct quorum *q = MEM_NEW(struct quorum);
    bool yes = !site_quorum(s, q, NULL) && q->root >= 0;
    mem_free(q);
    return yes;
}

enum err_code site_log(const struct site *s, struct key_secret *key, struct tlog **out, struct err *e)
{
    struct buf dir = { 0 };
    enum err_code c = key->pub.type ? ERR_OK : site_key(s, "log", key, e);
    buf_printf(&dir, "%s/log", s->pub);
    const struct tlog_options o = { .dir = buf_str(&dir), .key = key->pub, .sign = tlog_sign_with_key,
                                    .sign_ctx = key, .witnessed = site_is_witnessed(s) };
    if (!c)
        c = tlog_open(&o, out, e);
    buf_release(&dir);
    return c;
}

enum err_code site_file_note(const struct site *s, struct tlog *log, enum statement_type type, struct span note,
                             uint64_t *index, struct err *e)
{
    struct buf dir = { 0 };
    uint8_t hash[HASH_BYTES];
    char hex[HASH_HEX + 1], name[HASH_HEX + 8], leaf[STATEMENT_LEAF_MAX];
    code_sha256(hash, note.data, note.len);
    code_hex(hex, hash, HASH_BYTES);
    snprintf(name, sizeof name, "%s.note", hex);
    buf_printf(&dir, "%s/notes/%s", s->pub, statement_name(type));
    enum err_code c = file_make_dirs(buf_str(&dir), e);
    if (!c)
        c = write_in(buf_str(&dir), name, note.data, note.len, e);
    if (!c)
        c = tlog_append(log, statement_leaf(type, note, leaf), index, e);
    if (!c)
        c = tlog_commit(log, e);
    buf_release(&dir);
    return c;
}

enum err_code site_publish(const struct site *s, struct tlog *log, enum statement_type type, struct span text,
                           char hash_text[HASH_TEXT_MAX], struct err *e)
{
    struct key_secret k = { 0 };
    struct buf note = { 0 };
    uint8_t hash[HASH_BYTES];
    uint64_t index;
    enum err_code c = site_key(s, type == STATEMENT_CLOSE ? "node" : statement_name(type), &k, e);
    if (!c)
        c = note_sign(text, &k, &note, e);
    if (!c && !log)
        c = inbox_leave(s, (struct span){ note.data, note.len }, INBOX_WAIT_MS, e);
    else if (!c)
        c = site_file_note(s, log, type, (struct span){ note.data, note.len }, &index, e);
    if (!c) {
        code_sha256(hash, note.data, note.len);
        code_hash_text(hash_text, hash);
    }
    key_secret_wipe(&k);
    buf_release(&note);
    return c;
}

enum err_code site_latest(const struct site *s, enum statement_type type, char hash_text[HASH_TEXT_MAX],
                          uint64_t *seq, struct err *e)
{
    struct buf dir = { 0 };
    buf_printf(&dir, "%s/notes/%s", s->pub, statement_name(type));
    DIR *d = opendir(buf_str(&dir));
    struct note *n = MEM_NEW(struct note);
    *seq = 0;
    snprintf(hash_text, HASH_TEXT_MAX, "-");
    for (int i = 0; d && i < NOTES_SCAN_MAX; i++) {
        struct dirent *f = readdir(d);
        struct buf b = { 0 };
        struct statement st;
        uint8_t hash[HASH_BYTES];
        if (!f)
            break;
        if (f->d_name[0] != '.' && !read_in(buf_str(&dir), f->d_name, &b, e) &&
            !note_parse((struct span){ b.data, b.len }, n, e) && !statement_parse(n->text, &st, e) &&
            st.type == type && statement_uint(&st, "seq") > *seq) {
            *seq = statement_uint(&st, "seq");
            code_sha256(hash, b.data, b.len);
            code_hash_text(hash_text, hash);
        }
        buf_release(&b);
    }
    if (d)
        closedir(d);
    mem_free(n);
    buf_release(&dir);
    return ERR_OK;
}
