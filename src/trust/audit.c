/* audit -- see audit.h: the order of the audit, findings, folders. */
#include "trust/audit_impl.h"

#include "base/file.h"
#include "base/mem.h"
#include "trust/modelsig.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void __attribute__((format(printf, 3, 0))) say(struct audit *a, const char *word, const char *fmt, va_list ap)
{
    char line[512];
    if (a->r->findings + a->r->unchecked > AUDIT_FINDINGS_MAX)
        return;
    vsnprintf(line, sizeof line, fmt, ap);
    buf_printf(&a->r->text, "%s %s\n", word, line);
}

void audit_fail(struct audit *a, const char *fmt, ...)
{
    va_list ap;
    a->r->findings++;
    va_start(ap, fmt);
    say(a, "FAIL", fmt, ap);
    va_end(ap);
}

void audit_note(struct audit *a, const char *fmt, ...)
{
    va_list ap;
    a->r->unchecked++;
    va_start(ap, fmt);
    say(a, "NOTE", fmt, ap);
    va_end(ap);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int audit_names(const char *dir, const char *suffix, char ***out)
{
    DIR *d = opendir(dir);
    char **names = NULL;
    int n = 0;
    size_t tail = strlen(suffix);
    for (struct dirent *f = d ? readdir(d) : NULL; f && n < AUDIT_NOTES_MAX; f = readdir(d)) {
        size_t len = strlen(f->d_name);
        if (f->d_name[0] == '.' || len < tail || strcmp(f->d_name + len - tail, suffix))
            continue;
        names = mem_grow(names, (size_t)n + 1, sizeof *names);
        names[n++] = mem_strdup(f->d_name);
    }
    if (d)
        closedir(d);
    if (n)
        qsort(names, (size_t)n, sizeof *names, by_text);
    *out = names;
    return n;
}

void audit_names_free(char **names, int count)
{
    for (int i = 0; i < count; i++)
        mem_free(names[i]);
    mem_free(names);
}

static void load_months(struct audit *a)
{
    char **names = NULL;
    int n = a->o->pseudonyms ? audit_names(a->o->pseudonyms, ".key", &names) : 0;
    for (int i = 0; i < n && a->month_count < AUDIT_MONTHS_MAX; i++) {
        struct buf path = { 0 }, text = { 0 };
        struct audit_month *m = &a->months[a->month_count];
        buf_printf(&path, "%s/%s", a->o->pseudonyms, names[i]);
        if (strncmp(names[i], "pseudonym-", 10) || strlen(names[i]) != 21) {
            buf_release(&path);
            continue;
        }
        snprintf(m->month, sizeof m->month, "%.7s", names[i] + 10);
        bool ok = !file_read(buf_str(&path), 256, &text, NULL) && text.len && text.data[text.len - 1] == '\n' &&
                  code_unbase64_exact(m->key, sizeof m->key, (struct span){ text.data, text.len - 1 });
        if (ok)
            a->month_count++;
        else
            audit_note(a, "%s is no pseudonym key", names[i]);
        mem_wipe(text.data, text.len);
        buf_release(&text);
        buf_release(&path);
    }
    audit_names_free(names, n);
}

/* "weights rehash to the signed model": every file of every model note that lies in the folder. */
static void check_weights(struct audit *a)
{
    for (int i = 0; a->o->models && i < a->note_count; i++) {
        struct span rest, item, name, want_text;
        uint8_t want[HASH_BYTES], have[HASH_BYTES];
        struct err e;
        if (a->notes[i]->s.type != STATEMENT_MODEL)
            continue;
        rest = statement_get(&a->notes[i]->s, "files");
        while (statement_next(&rest, &item)) {
            struct buf path = { 0 };
            if (!span_cut(item, '=', &name, &want_text) || !code_unhash_text(want, want_text) ||
                memmem(name.data, name.len, "..", 2) || name.data[0] == '/')
                continue;
            buf_printf(&path, "%s/%.*s", a->o->models, (int)name.len, name.data);
            int fd = open(buf_str(&path), O_RDONLY | O_CLOEXEC);
            if (fd < 0)
                audit_note(a, "model file %.*s is not at hand", (int)name.len, name.data);
            else if (modelsig_hash_fd(fd, have, &e) || !code_same(have, want, HASH_BYTES))
                audit_fail(a, "model file %.*s is not the one that was signed", (int)name.len, name.data);
            else
                a->r->files_hashed++;
            if (fd >= 0)
                close(fd);
            buf_release(&path);
        }
    }
}

static void release(struct audit *a)
{
    for (int i = 0; i < a->note_count; i++) {
        policy_free(a->notes[i]->policy);
        buf_release(&a->notes[i]->bytes);
        mem_free(a->notes[i]);
    }
    mem_free(a->notes);
    mem_free(a->slots);
    if (a->tiles.dir)
        tiles_close(&a->tiles);
    chain_release(a->chain);
    mem_free(a->chain);
    mem_free(a->quorum);
    mem_wipe(a->months, sizeof a->months);
    mem_free(a);
}

enum err_code audit_run(const struct audit_options *o, struct audit_result *out, struct err *e)
{
    struct audit *a = MEM_NEW(struct audit);
    *out = (struct audit_result){ 0 };
    a->o = o;
    a->r = out;
    a->quorum = MEM_NEW(struct quorum);
    a->chain = MEM_NEW(struct chain);
    enum err_code c = quorum_parse(o->trust_policy, a->quorum, e);
    if (!c)
        c = audit_log(a, e);
    if (!c)
        c = audit_notes(a, e);
    if (!c) {
        load_months(a);
        c = audit_receipts(a, e);
    }
    if (!c)
        check_weights(a);
    release(a);
    return c;
}
