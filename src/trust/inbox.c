/* inbox -- see inbox.h. */
#include "trust/inbox.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 20, SCAN_MAX = 4096 };

static void path_of(const struct site *s, const char *name, const char *suffix, struct buf *path)
{
    buf_clear(path);
    buf_printf(path, "%s/inbox%s%s%s", s->dir, *name ? "/" : "", name, suffix);
}

/* Waits until neither the note nor its mark is there, or there is a refusal. */
static enum err_code await(const struct site *s, const char *name, int64_t wait_ms, struct err *e)
{
    struct buf note = { 0 }, taken = { 0 }, refused = { 0 }, why = { 0 };
    enum err_code c = ERR_BUSY;
    path_of(s, name, ".note", &note);
    path_of(s, name, ".taken", &taken);
    path_of(s, name, ".refused", &refused);
    for (int64_t waited = 0; c == ERR_BUSY && waited <= wait_ms; waited += POLL_MS) {
        if (!access(buf_str(&refused), F_OK) && !file_read(buf_str(&refused), ERR_TEXT_MAX, &why, NULL)) {
            c = err_set(e, ERR_DENIED, "the server refused it: %s", buf_str(&why));
            unlink(buf_str(&refused));
        } else if (access(buf_str(&note), F_OK) && access(buf_str(&taken), F_OK)) {
            c = ERR_OK;
        } else {
            nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
        }
    }
    if (c == ERR_BUSY) {
        unlink(buf_str(&note));
        err_set(e, c, "the process that writes the log did not take the statement within %lld s: stop it, or try again",
                (long long)(wait_ms / 1000));
    }
    struct buf *const all[] = { &note, &taken, &refused, &why };
    for (size_t i = 0; i < MEM_COUNT(all); i++)
        buf_release(all[i]);
    return c;
}

enum err_code inbox_leave(const struct site *s, struct span note, int64_t wait_ms, struct err *e)
{
    struct buf path = { 0 };
    uint8_t hash[HASH_BYTES];
    char name[HASH_HEX + 1];
    code_sha256(hash, note.data, note.len);
    code_hex(name, hash, HASH_BYTES);
    path_of(s, "", "", &path);
    enum err_code c = file_make_dirs(buf_str(&path), e);
    path_of(s, name, ".note", &path);
    if (!c)
        c = file_write(buf_str(&path), note.data, note.len, e);
    buf_release(&path);
    return c ? c : await(s, name, wait_ms, e);
}

/* "<name>.note", and a name that makes a file name. */
static bool is_note(const char *file, char name[INBOX_NAME_MAX + 1])
{
    const char *dot = strrchr(file, '.');
    if (!dot || strcmp(dot, ".note") || dot - file > INBOX_NAME_MAX || file[0] == '.')
        return false;
    snprintf(name, INBOX_NAME_MAX + 1, "%.*s", (int)(dot - file), file);
    return true;
}

bool inbox_next(const struct site *s, char name[INBOX_NAME_MAX + 1], struct buf *note)
{
    struct buf path = { 0 };
    bool found = false;
    path_of(s, "", "", &path);
    DIR *d = opendir(buf_str(&path));
    for (int i = 0; d && !found && i < SCAN_MAX; i++) {
        const struct dirent *f = readdir(d);
        if (!f)
            break;
        if (!is_note(f->d_name, name))
            continue;
        path_of(s, name, ".note", &path);
        found = !file_read(buf_str(&path), INBOX_NOTE_MAX, note, NULL);
        if (!found)
            unlink(buf_str(&path)); /* too long for a note, or not ours to read */
    }
    if (d)
        closedir(d);
    buf_release(&path);
    return found;
}

void inbox_taken(const struct site *s, const char *name)
{
    struct buf from = { 0 }, to = { 0 };
    path_of(s, name, ".note", &from);
    path_of(s, name, ".taken", &to);
    if (rename(buf_str(&from), buf_str(&to)))
        unlink(buf_str(&from)); /* its signer gave up waiting: it is logged all the same */
    buf_release(&from);
    buf_release(&to);
}

void inbox_done(const struct site *s, const char *name)
{
    struct buf path = { 0 };
    path_of(s, name, ".taken", &path);
    unlink(buf_str(&path));
    buf_release(&path);
}

void inbox_refuse(const struct site *s, const char *name, const char *sentence)
{
    struct buf path = { 0 };
    path_of(s, name, ".refused", &path);
    file_write(buf_str(&path), sentence, strlen(sentence), NULL);
    path_of(s, name, ".note", &path);
    unlink(buf_str(&path));
    buf_release(&path);
}
