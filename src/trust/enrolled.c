/* enrolled -- see enrolled.h. */
#include "trust/enrolled.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 2 << 20 };

static void path_of(const struct site *s, struct buf *path)
{
    buf_printf(path, "%s/clients", s->dir);
}

static enum err_code read_file(const struct site *s, struct buf *text, struct err *e)
{
    struct buf path = { 0 };
    path_of(s, &path);
    enum err_code c = access(buf_str(&path), F_OK) ? ERR_OK : file_read(buf_str(&path), FILE_MAX, text, e);
    buf_release(&path);
    return c;
}

enum err_code enrolled_read(const struct site *s, const struct chain *c, struct enrolled *out, struct err *e)
{
    struct buf text = { 0 };
    struct span line, tenant, vkey;
    struct key_public key;
    *out = (struct enrolled){ 0 };
    enum err_code code = read_file(s, &text, e);
    struct span rest = { buf_str(&text), text.len };
    for (int at = 1; !code && span_line(&rest, &line); at++) {
        if (!line.len || line.data[0] == '#')
            continue;
        if (!span_cut(line, ' ', &tenant, &vkey) || !tenant.len || tenant.len > ENROLLED_TENANT_MAX ||
            key_public_parse(vkey, &key, e) || out->count == ENROLLED_MAX) {
            code = err_set(e, ERR_INVALID, "%s/clients line %d: a tenant and a verifier key are needed", s->dir, at);
        } else if (!chain_is_revoked(c, vkey)) {
            out->of = mem_grow(out->of, (size_t)out->count + 1, sizeof *out->of);
            struct enrolled_key *k = &out->of[out->count++];
            snprintf(k->tenant, sizeof k->tenant, "%.*s", (int)tenant.len, tenant.data);
            snprintf(k->vkey, sizeof k->vkey, "%.*s", (int)vkey.len, vkey.data);
        }
    }
    buf_release(&text);
    if (code)
        enrolled_release(out);
    return code;
}

enum err_code enrolled_add(const struct site *s, const char *tenant, const struct key_public *key, struct err *e)
{
    struct buf text = { 0 }, path = { 0 };
    char vkey[KEY_TEXT_MAX];
    key_public_text(key, vkey);
    path_of(s, &path);
    if (!*tenant || strlen(tenant) > ENROLLED_TENANT_MAX || strpbrk(tenant, " \n#"))
        return err_set(e, ERR_INVALID, "a tenant's name has no blank and at most %d characters", ENROLLED_TENANT_MAX);
    enum err_code c = read_file(s, &text, e);
    buf_printf(&text, "%s %s\n", tenant, vkey);
    if (!c)
        c = file_write(buf_str(&path), text.data, text.len, e);
    buf_release(&text);
    buf_release(&path);
    return c;
}

void enrolled_release(struct enrolled *n)
{
    mem_free(n->of);
    *n = (struct enrolled){ 0 };
}
