/* adapters -- POST /tokenworks/models/ID/adapters {"name", "file"} and DELETE /tokenworks/models/ID/adapters/NAME:
 * LoRA adapters come to a model that runs and leave it. Who may: as with load (load.c).
 *
 * The front opens the file, only below the folders of --lora-dir, and the engine gets the descriptor in a frame of its
 * own; its answer is the route's. What was added is added again whenever the model's engine starts. */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "front/front_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 63, PATH_BYTES = 1024, MODEL_BYTES = 256 };

/* A question to an engine. */
struct adapter_call {
    struct link_call call;
    struct adapter_call *next;
    struct front *front;
    struct http_exchange *x; /* NULL: the client left, or none asked */
    struct link *link;
    char name[NAME_MAX_BYTES + 1];
    char *file;              /* as the client named it; NULL: the adapter is to leave */
    bool again;              /* after the engine's start */
};

static const char part[] = "/adapters";

static void refuse(struct front *f, struct http_exchange *x, int status, const char *message, const char *param)
{
    front_reply_error(f, x, &(struct error){ .status = status, .message = message, .param = param }, NULL);
}

/* ---- the file */

/* Opens dir/path without following a link: each step must be a plain name. -1 with errno; EPERM: it is none. */
static int open_below(const char *dir, const char *path)
{
    int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    char name[PATH_BYTES];
    for (const char *p = path; at >= 0;) { /* every turn takes a name */
        size_t n = strcspn(p, "/");
        bool last = !p[n];
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        bool plain = n && n < sizeof name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
        int flags = O_NOFOLLOW | O_CLOEXEC | (last ? O_RDONLY | O_NONBLOCK : O_PATH | O_DIRECTORY);
        int next = plain ? openat(at, name, flags) : -1, error = plain ? errno : EPERM;
        close(at);
        errno = error;
        if (next < 0 || last)
            return next;
        at = next;
        p += n + 1;
    }
    return at;
}

/* What follows the folder's name in an absolute path, or a relative one as it is; NULL: elsewhere. */
static const char *path_in(const char *dir, const char *file)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (file[0] != '/')
        return file;
    return !strncmp(file, dir, n) && file[n] == '/' ? file + n + 1 : NULL;
}

static enum err_code open_file(const struct front *f, const char *file, int *out, struct err *e)
{
    struct stat s;
    bool missing = false;
    *out = -1;
    if (!f->options.lora_dir_count)
        return err_set(e, ERR_DENIED, "no folder of adapters is named; start the server with --lora-dir DIR");
    for (int i = 0; i < f->options.lora_dir_count && *out < 0; i++) {
        const char *path = path_in(f->options.lora_dirs[i], file);
        *out = path && strlen(path) < PATH_BYTES ? open_below(f->options.lora_dirs[i], path) : -1;
        missing |= path && *out < 0 && errno == ENOENT;
    }
    if (*out < 0)
        return missing ? err_set(e, ERR_NOT_FOUND, "%.200s: there is no such file below --lora-dir", file) :
                         err_set(e, ERR_DENIED, "%.200s: only files below a folder named with --lora-dir are opened, "
                                 "and symbolic links are not followed", file);
    if (!fstat(*out, &s) && S_ISREG(s.st_mode))
        return ERR_OK;
    close(*out);
    *out = -1;
    return err_set(e, ERR_INVALID, "%.200s: it is no file", file);
}

/* ---- the engine's answer */

static void unlink_call(struct adapter_call *c)
{
    struct adapter_call **at = &c->front->adapter_calls;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    mem_free(c->file);
    mem_free(c);
}

static void reply(struct front *f, struct http_exchange *x, const struct link *k)
{
    struct buf b = { 0 };
    json_t *v = json_pack("{s:s, s:O?}", "id", link_model_id(k), "adapters",
                          json_object_get(link_facts(k), "adapters"));
    jsonx_dump(v, &b);
    json_decref(v);
    front_reply_json(f, x, 200, &b);
    buf_release(&b);
}

static void forget(struct link *k, const char *name)
{
    json_object_del(link_added(k), name);
    link_adapter_set(k, name, false);
}

static void done(struct adapter_call *c)
{
    if (c->file) {
        json_object_set_new(link_added(c->link), c->name, json_string(c->file));
        link_adapter_set(c->link, c->name, true);
    } else {
        forget(c->link, c->name);
    }
    log_line(LOG_INFO, "front", "%s: adapter %s %s", link_model_id(c->link), c->name, c->file ? "added" : "removed");
    if (c->x)
        reply(c->front, c->x, c->link);
    unlink_call(c);
}

static void failed(struct adapter_call *c, int status, const char *why, const char *param)
{
    if (c->again) {
        forget(c->link, c->name);
        log_line(LOG_ERROR, "front", "%s: the adapter %s did not come back: %s", link_model_id(c->link), c->name, why);
    } else if (!c->file) {
        link_adapter_set(c->link, c->name, true);
    }
    if (c->x)
        refuse(c->front, c->x, status, why, param);
    unlink_call(c);
}

static void on_frame(struct link_call *call, const struct frame *f)
{
    struct adapter_call *c = call->arg;
    json_t *v = jsonx_parse(f->payload, f->length, NULL);
    const json_t *error = json_object_get(v, "error");
    const char *why = json_string_value(json_object_get(error, "message"));
    const char *param = json_string_value(json_object_get(error, "param"));
    int64_t status = json_integer_value(json_object_get(v, "status"));
    if (f->kind == FRAME_END)
        done(c);
    else if (f->kind == FRAME_ERROR)
        failed(c, status >= 400 && status < 600 ? (int)status : 502, why ? why : "the engine refused it", param);
    json_decref(v);
}

/* The engine died: what was added comes back with the next one. */
static void on_lost(struct link_call *call, const char *why)
{
    struct adapter_call *c = call->arg;
    if (!c->file)
        link_adapter_set(c->link, c->name, true);
    if (c->x)
        refuse(c->front, c->x, 503, "the engine ended before it answered; see whether the adapter is there", NULL);
    unlink_call(c);
}

/* file NULL: the adapter is to leave. x: who waits for the answer, or NULL. false: the engine cannot be asked now. */
static bool ask(struct front *f, struct http_exchange *x, struct link *k, const char *name, const char *file, int fd)
{
    struct adapter_call *c = MEM_NEW(struct adapter_call);
    *c = (struct adapter_call){ .call = { .frame = on_frame, .lost = on_lost, .arg = c }, .next = f->adapter_calls,
                                .front = f, .x = x, .link = k, .file = file ? mem_strdup(file) : NULL,
                                .again = !x };
    snprintf(c->name, sizeof c->name, "%s", name);
    f->adapter_calls = c;
    bool sent = link_call_open(k, &c->call);
    if (sent) {
        struct buf b = { 0 };
        json_t *v = file ? json_pack("{s:s}", "name", name) : json_pack("{s:s, s:b}", "name", name, "remove", 1);
        jsonx_dump(v, &b);
        json_decref(v);
        if (file)
            sent = link_call_send_fd(k, &c->call, FRAME_ADAPTER, b.data, b.len, fd);
        else
            link_call_send(k, &c->call, FRAME_ADAPTER, 0, b.data, b.len);
        buf_release(&b);
        if (!sent)
            link_call_close(k, &c->call);
    }
    if (!sent)
        unlink_call(c);
    return sent;
}

void adapters_again(struct front *f, struct link *k)
{
    json_t *list = json_copy(link_added(k)), *file;
    const char *name;
    json_object_foreach(list, name, file) {
        struct err e = { .text = "the engine cannot be asked" };
        int fd = -1;
        if (link_has_adapter(k, name))
            continue;
        link_adapter_set(k, name, true); /* requests that were waiting come behind this */
        if (open_file(f, json_string_value(file), &fd, &e) || !ask(f, NULL, k, name, json_string_value(file), fd)) {
            forget(k, name);
            log_line(LOG_ERROR, "front", "%s: the adapter %s did not come back: %s", link_model_id(k), name, e.text);
        }
        if (fd >= 0)
            close(fd);
    }
    json_decref(list);
}

bool adapters_gone(struct front *f, const struct http_exchange *x)
{
    for (struct adapter_call *c = f->adapter_calls; c; c = c->next)
        if (c->x == x) {
            c->x = NULL;
            return true;
        }
    return false;
}

void adapters_close(struct front *f)
{
    while (f->adapter_calls) {
        link_call_close(f->adapter_calls->link, &f->adapter_calls->call);
        unlink_call(f->adapter_calls);
    }
}

/* ---- the route */

/* Where "/adapters" begins, or 0. */
static size_t part_at(struct http_slice path)
{
    size_t n = strlen(part);
    for (size_t i = path.n; i-- > 0;)
        if (path.n - i >= n && !memcmp(path.p + i, part, n) && (path.n == i + n || path.p[i + n] == '/'))
            return i;
    return 0;
}

bool adapters_path(struct http_slice path)
{
    return part_at(path) > strlen("/tokenworks/models/");
}

static bool name_ok(const char *name)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strspn(name, plain);
    return n && !name[n] && n <= NAME_MAX_BYTES;
}

static void add(struct front *f, struct http_exchange *x, struct link *k)
{
    struct http_slice body = http_request_body(x);
    struct err e = { 0 };
    const char *name = NULL, *file = NULL;
    int fd = -1;
    json_t *in = jsonx_parse(body.p, body.n, &e);
    bool read = json_is_object(in) && !jsonx_get_string(in, "name", &name, &e) &&
                !jsonx_get_string(in, "file", &file, &e) && name && file && json_object_size(in) == 2;
    enum err_code c = read && name_ok(name) ? open_file(f, file, &fd, &e) : ERR_OK;
    if (!read)
        refuse(f, x, 400, "the body must be {\"name\": NAME, \"file\": FILE}", NULL);
    else if (!name_ok(name))
        refuse(f, x, 400, "a name has 1 to 63 letters, digits and . _ -", "name");
    else if (c)
        refuse(f, x, c == ERR_DENIED ? 403 : c == ERR_NOT_FOUND ? 404 : 400, e.text, "file");
    else if (link_state(k) != LINK_READY)
        refuse(f, x, 409, "the model is not loaded: POST /tokenworks/models/load first", NULL);
    else if (!ask(f, x, k, name, file, fd))
        refuse(f, x, 503, "the engine has too much to read; try again", NULL);
    if (fd >= 0)
        close(fd);
    json_decref(in);
}

static void take_out(struct front *f, struct http_exchange *x, struct link *k, const char *name)
{
    if (link_adapter_fixed(k, name)) {
        refuse(f, x, 409, "this adapter is named in the server's own options and stays while it runs", NULL);
    } else if (!link_has_adapter(k, name)) {
        refuse(f, x, 404, "the model has no adapter of this name", NULL);
    } else if (link_state(k) != LINK_READY) {
        forget(k, name);
        reply(f, x, k);
    } else {
        link_adapter_set(k, name, false); /* no new request gets it meanwhile */
        if (ask(f, x, k, name, NULL, -1))
            return;
        link_adapter_set(k, name, true);
        refuse(f, x, 503, "the engine has too much to read; try again", NULL);
    }
}

void answer_adapters(struct front *f, struct http_exchange *x, const struct route *r)
{
    const struct http_head *h = http_request_head(x);
    size_t skip = strlen("/tokenworks/models/"), at = part_at(h->path), end = at + strlen(part);
    bool posted = http_slice_is(h->method, "POST");
    char model[MODEL_BYTES] = "", name[NAME_MAX_BYTES + 1] = "";
    if (at - skip < sizeof model)
        memcpy(model, h->path.p + skip, at - skip);
    if (h->path.n > end + 1 && h->path.n - end - 1 < sizeof name)
        memcpy(name, h->path.p + end + 1, h->path.n - end - 1);
    struct link *k = model[0] ? models_find(f->models, model) : NULL;
    if (!load_allowed(f, h))
        refuse(f, x, 403, "this needs a key of the role admin: tokenworks key add --role admin", NULL);
    else if (!k)
        refuse(f, x, 404, "no model of this name is served here", NULL);
    else if (link_is_far(k))
        refuse(f, x, 409, "other machines have this model: an adapter is added where it runs", NULL);
    else if (posted && h->path.n == end)
        add(f, x, k);
    else if (!posted && name[0])
        take_out(f, x, k, name);
    else
        refuse(f, x, 404, "POST /tokenworks/models/ID/adapters and DELETE /tokenworks/models/ID/adapters/NAME", NULL);
}
