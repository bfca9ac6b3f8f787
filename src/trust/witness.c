/* witness -- see witness.h. */
#include "trust/witness.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { HTTP_OK = 200, HTTP_BAD = 400, HTTP_FORBIDDEN = 403, HTTP_UNKNOWN = 404, HTTP_CONFLICT = 409,
       HTTP_UNPROCESSABLE = 422, HTTP_FAILED = 500, STATE_MAX = 1 << 16 };

struct request {
    uint64_t old_size;
    struct tree_proof proof;
    struct span checkpoint;
};

static void state_path(const struct witness *w, const char *origin, bool file, struct buf *out)
{
    uint8_t hash[HASH_BYTES];
    char hex[HASH_HEX + 1];
    code_sha256(hash, origin, strlen(origin));
    code_hex(hex, hash, HASH_BYTES);
    buf_printf(out, "%s/%s%s", w->dir, hex, file ? "/checkpoint" : "");
}

enum err_code witness_open(struct witness *w, const char *dir, const struct key_secret *key, struct err *e)
{
    struct buf path = { 0 };
    if (key->pub.type != KEY_COSIGNATURE)
        return err_set(e, ERR_INVALID, "the key of %s is not a witness key (type 0x04)", key->pub.name);
    enum err_code c = file_make_dirs(dir, e);
    if (c)
        return c;
    buf_printf(&path, "%s/lock", dir);
    int fd = open(buf_str(&path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        c = err_errno(e, "%s: cannot open", buf_str(&path));
    } else if (flock(fd, LOCK_EX | LOCK_NB)) {
        c = err_set(e, ERR_BUSY, "another witness process works in %s", dir);
        close(fd);
    }
    buf_release(&path);
    if (c)
        return c;
    *w = (struct witness){ .dir = mem_strdup(dir), .lock_fd = fd, .key = *key };
    return ERR_OK;
}

enum err_code witness_add_log(struct witness *w, const struct key_public *log, struct err *e)
{
    if (w->log_count == WITNESS_LOGS_MAX)
        return err_set(e, ERR_LIMIT, "a witness keeps at most %d logs", WITNESS_LOGS_MAX);
    w->logs[w->log_count++] = *log;
    return ERR_OK;
}

void witness_close(struct witness *w)
{
    close(w->lock_fd);
    mem_free(w->dir);
    mem_wipe(w, sizeof *w);
}

static bool parse_request(struct span text, struct request *out)
{
    struct span line, left, right;
    out->proof.count = 0;
    if (text.len > WITNESS_REQUEST_MAX || !span_line(&text, &line) || !span_cut(line, ' ', &left, &right) ||
        !span_is(left, "old") || !code_uint(right, &out->old_size))
        return false;
    while (span_line(&text, &line)) {
        if (!line.len) {
            out->checkpoint = text;
            return true;
        }
        if (out->proof.count == TREE_LEVELS_MAX ||
            !code_unbase64_exact(out->proof.hash[out->proof.count++], HASH_BYTES, line))
            return false;
    }
    return false;
}

static enum err_code known_log(const struct witness *w, const struct note *n, struct span origin,
                               const struct key_public **log, int *status, struct err *e)
{
    *status = HTTP_UNKNOWN;
    enum err_code c = err_set(e, ERR_NOT_FOUND, "this witness does not know the log %.*s", (int)origin.len,
                              origin.data);
    for (int i = 0; i < w->log_count; i++) {
        if (!span_is(origin, w->logs[i].name))
            continue;
        *status = HTTP_FORBIDDEN;
        c = note_verify(n, &w->logs[i], e);
        *log = &w->logs[i];
        if (!c || note_find(n, &w->logs[i]))
            return c;
    }
    return c;
}

enum err_code witness_latest(const struct witness *w, const struct key_public *log, struct buf *out, struct err *e)
{
    struct buf path = { 0 };
    state_path(w, log->name, true, &path);
    bool none = access(buf_str(&path), F_OK) && errno == ENOENT;
    enum err_code c = none ? err_set(e, ERR_NOT_FOUND, "no checkpoint of %s was cosigned yet", log->name)
                           : file_read(buf_str(&path), STATE_MAX, out, e);
    buf_release(&path);
    return c;
}

/* What we cosigned last; size 0 when nothing. Our own state is read as strictly as anybody's. */
static enum err_code load_state(const struct witness *w, const struct key_public *log, struct checkpoint *out,
                                struct err *e)
{
    struct buf text = { 0 };
    struct note *n = MEM_NEW(struct note);
    int64_t when;
    enum err_code c = witness_latest(w, log, &text, e);
    if (c == ERR_NOT_FOUND) {
        *out = (struct checkpoint){ 0 };
        code_sha256(out->root, NULL, 0);
        c = ERR_OK;
    } else if (!c) {
        c = checkpoint_open((struct span){ text.data, text.len }, log, n, out, e);
        if (!c)
            c = cosign_verify(n, &w->key.pub, &when, e);
        out->origin = (struct span){ 0 };
    }
    buf_release(&text);
    mem_free(n);
    return c;
}

static enum err_code save_state(const struct witness *w, const struct key_public *log, const struct note *n,
                                struct span cosignature, struct err *e)
{
    struct buf path = { 0 }, text = { 0 };
    state_path(w, log->name, false, &path);
    enum err_code c = file_make_dirs(buf_str(&path), e);
    int dir = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!c && (dir < 0 || fsync(dir)))
        c = err_errno(e, "%s: cannot sync", w->dir);
    if (dir >= 0)
        close(dir);
    buf_puts(&path, "/checkpoint");
    const struct note_sig *s = note_find(n, log);
    buf_append(&text, n->text.data, n->text.len);
    buf_putc(&text, '\n');
    buf_append(&text, s->line.data, s->line.len);
    buf_append(&text, cosignature.data, cosignature.len);
    if (!c)
        c = file_write(buf_str(&path), text.data, text.len, e);
    buf_release(&path);
    buf_release(&text);
    return c;
}

static enum err_code check_growth(const struct request *r, const struct checkpoint *known, const struct checkpoint *cp,
                                  int *status, struct buf *out, struct err *e)
{
    uint8_t empty[HASH_BYTES];
    code_sha256(empty, NULL, 0);
    if (r->old_size > cp->size) {
        *status = HTTP_BAD;
        return err_set(e, ERR_INVALID, "the old size is larger than the checkpoint");
    }
    if (r->old_size != known->size) {
        *status = HTTP_CONFLICT;
        buf_printf(out, "%" PRIu64 "\n", known->size);
        return err_set(e, ERR_BUSY, "this witness last cosigned size %" PRIu64 ", not %" PRIu64, known->size,
                       r->old_size);
    }
    *status = HTTP_UNPROCESSABLE;
    if (!cp->size && !code_same(cp->root, empty, HASH_BYTES))
        return err_set(e, ERR_DENIED, "an empty log has another root");
    return tree_check_grown(known->size, known->root, cp->size, cp->root, &r->proof, e);
}

enum err_code witness_add_checkpoint(struct witness *w, struct span request, int64_t now_s, int *status,
                                     struct buf *out, struct err *e)
{
    struct request *r = MEM_NEW(struct request);
    struct note *n = MEM_NEW(struct note);
    struct checkpoint cp, known;
    struct buf line = { 0 };
    const struct key_public *log = NULL;
    enum err_code c;
    *status = HTTP_BAD;
    if (!parse_request(request, r))
        c = err_set(e, ERR_INVALID, "not an add-checkpoint request: old SIZE, hashes, an empty line, the checkpoint");
    else
        c = note_parse(r->checkpoint, n, e);
    if (!c)
        c = checkpoint_parse(n->text, &cp, e);
    if (!c)
        c = known_log(w, n, cp.origin, &log, status, e);
    if (!c) {
        *status = HTTP_FAILED;
        c = load_state(w, log, &known, e);
    }
    if (!c)
        c = check_growth(r, &known, &cp, status, out, e);
    if (!c) {
        *status = HTTP_FAILED;
        c = cosign_make(n->text, &w->key, now_s, &line, e);
    }
    if (!c)
        c = save_state(w, log, n, (struct span){ line.data, line.len }, e);
    if (!c) {
        *status = HTTP_OK;
        buf_append(out, line.data, line.len);
    }
    buf_release(&line);
    mem_free(n);
    mem_free(r);
    return c;
}

void witness_request(uint64_t old_size, const struct tree_proof *p, struct span checkpoint, struct buf *out)
{
    buf_printf(out, "old %" PRIu64 "\n", old_size);
    for (int i = 0; i < p->count; i++) {
        code_base64(out, p->hash[i], HASH_BYTES);
        buf_putc(out, '\n');
    }
    buf_putc(out, '\n');
    buf_append(out, checkpoint.data, checkpoint.len);
}
