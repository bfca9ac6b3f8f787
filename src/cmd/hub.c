/* hub -- see hub.h. */
#include "cmd/hub.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "net/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LISTING_MAX = 16 << 20, LISTING_MS = 60 * 1000, FILES_MAX = 20000 };

static const struct {
    const char *name, *means;
} shorts[] = {
    { "smollm2-135m", "hf:bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M" },
    { "smollm2-360m", "hf:bartowski/SmolLM2-360M-Instruct-GGUF:Q4_K_M" },
    { "smollm2-1.7b", "hf:HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF:Q4_K_M" },
    { "qwen2.5-0.5b", "hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M" },
    { "qwen3-0.6b", "hf:Qwen/Qwen3-0.6B-GGUF" },
    { "qwen3-4b", "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M" },
    { "llama3.2-1b", "hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M" },
    { "gemma3-1b", "hf:ggml-org/gemma-3-1b-it-GGUF:Q4_K_M" },
    { "gpt-oss-20b", "hf:ggml-org/gpt-oss-20b-GGUF" },
};

/* Small enough and good enough first. */
static const char *const types[] = { "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "Q5_K_M", "Q5_K_S", "Q6_K", "Q8_0", "MXFP4",
                                     "IQ4_XS", "IQ4_NL", "Q3_K_M", "BF16", "F16", "F32" };

static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-";

const char *hub_short_name(int i, const char **means)
{
    if (i < 0 || (size_t)i >= MEM_COUNT(shorts))
        return NULL;
    *means = shorts[i].means;
    return shorts[i].name;
}

const char *hub_token(void)
{
    const char *t = getenv("HF_TOKEN");
    return t && *t ? t : NULL;
}

bool hub_is_name(const char *text)
{
    return !strncmp(text, "hf:", 3);
}

bool hub_file_name_ok(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && n < 200 && name[0] != '.' && strspn(name, plain) == n && !strcmp(name + n - 5, ".gguf");
}

bool hub_unhex(const char *hex, uint8_t out[SHA256_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    if (strlen(hex) != 2 * SHA256_BYTES)
        return false;
    for (int i = 0; i < SHA256_BYTES; i++) {
        const char *high = strchr(digits, hex[2 * i] | 0x20), *low = strchr(digits, hex[2 * i + 1] | 0x20);
        if (!high || !low)
            return false;
        out[i] = (uint8_t)((high - digits) << 4 | (low - digits));
    }
    return true;
}

/* A part of a path: no way up, nothing that means something to a shell or a URL. */
static bool part_ok(const char *s, size_t n)
{
    return n && n < HUB_PART_MAX && s[0] != '.' && strspn(s, plain) >= n;
}

static bool path_ok(const char *path)
{
    for (const char *at = path;;) { /* every turn takes a part */
        size_t n = strcspn(at, "/");
        if (!n || n >= 200 || at[0] == '.' || strspn(at, plain) < n)
            return false;
        if (!at[n])
            return true;
        at += n + 1;
    }
}

enum err_code hub_name_parse(const char *text, struct hub_name *out, struct err *e)
{
    for (size_t i = 0; i < MEM_COUNT(shorts); i++)
        if (!strcasecmp(text, shorts[i].name))
            text = shorts[i].means;
    const char *owner = hub_is_name(text) ? text + 3 : "", *slash = strchr(owner, '/');
    const char *repo = slash ? slash + 1 : "", *colon = strchr(repo, ':');
    size_t repo_len = colon ? (size_t)(colon - repo) : strlen(repo);
    *out = (struct hub_name){ .owner = "" };
    if (!slash || !part_ok(owner, (size_t)(slash - owner)) || !part_ok(repo, repo_len) ||
        (colon && (strlen(colon + 1) >= HUB_PATH_MAX || !path_ok(colon + 1))))
        return err_set(e, ERR_INVALID, "'%.100s' names no model: hf:OWNER/REPO, hf:OWNER/REPO:FILE, "
                       "hf:OWNER/REPO:TYPE, a URL with --sha256, or a short name (tokenworks pull --list)", text);
    snprintf(out->owner, sizeof out->owner, "%.*s", (int)(slash - owner), owner);
    snprintf(out->repo, sizeof out->repo, "%.*s", (int)repo_len, repo);
    snprintf(out->file, sizeof out->file, "%s", colon ? colon + 1 : "");
    return ERR_OK;
}

static enum err_code endpoint(const char **out, struct err *e)
{
    const char *set = getenv("HF_ENDPOINT");
    *out = set && *set ? set : "https://huggingface.co";
    bool loopback = !strncmp(*out, "http://127.0.0.1", 16) || !strncmp(*out, "http://localhost", 16) ||
                    !strncmp(*out, "http://[::1]", 12);
    if (strncmp(*out, "https://", 8) && !loopback && hub_token())
        return err_set(e, ERR_DENIED, "HF_TOKEN would travel in the clear to %.200s: use https", *out);
    return ERR_OK;
}

static enum err_code listing(const struct hub_name *n, const char *base, json_t **out, struct err *e)
{
    struct buf url = { 0 };
    buf_printf(&url, "%s/api/models/%s/%s/tree/main?recursive=true", base, n->owner, n->repo);
    struct http_client *client = http_client_new();
    struct http_client_request r = { .url = buf_str(&url), .bearer = hub_token(), .follow = true,
                                     .total_ms = LISTING_MS, .reply_max = LISTING_MAX };
    struct http_client_reply reply;
    enum err_code c = http_client_run(client, &r, &reply, e);
    if (!c && (reply.status == 401 || reply.status == 403 || reply.status == 404))
        c = err_set(e, ERR_NOT_FOUND, "%s has no model %s/%s for you; a gated or private one needs HF_TOKEN", base,
                    n->owner, n->repo);
    else if (!c && reply.status != 200)
        c = err_set(e, ERR_IO, "%s: status %d", buf_str(&url), reply.status);
    if (!c && (!(*out = jsonx_parse(reply.body.data, reply.body.len, e)) || !json_is_array(*out)))
        c = err_set(e, ERR_CORRUPT, "%s is no list of files", buf_str(&url));
    http_client_reply_release(&reply);
    http_client_free(client);
    buf_release(&url);
    return c;
}

/* How well a file fits what is wanted; less is better, INT32_MAX: not at all. */
static int32_t rank(const char *path, const char *wanted)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name);
    if (n <= 5 || strcmp(name + n - 5, ".gguf") || !strncmp(name, "mmproj", 6))
        return INT32_MAX;
    if (*wanted) {
        if (!strcmp(path, wanted) || !strcmp(name, wanted))
            return 0;
        return strcasestr(name, wanted) && !strstr(wanted, ".gguf") ? 1 + (int32_t)n : INT32_MAX;
    }
    int32_t worst = (int32_t)MEM_COUNT(types);
    for (int32_t i = 0; i < worst; i++)
        if (strcasestr(name, types[i]))
            return i;
    return worst;
}

static enum err_code check(const struct hub_name *n, const char *base, const json_t *entry, struct hub_file *out,
                           struct err *e)
{
    const char *path = json_string_value(json_object_get(entry, "path"));
    const json_t *lfs = json_object_get(entry, "lfs");
    const char *oid = json_string_value(json_object_get(lfs, "oid"));
    const json_t *size = json_object_get(lfs, "size");
    const char *slash = strrchr(path, '/');
    if (oid && !strncmp(oid, "sha256:", 7))
        oid += 7;
    if (strlen(path) >= HUB_PATH_MAX || !path_ok(path) || !hub_file_name_ok(slash ? slash + 1 : path))
        return err_set(e, ERR_DENIED, "%s/%s has a file whose name cannot be kept here", n->owner, n->repo);
    if (strstr(path, "-of-0"))
        return err_set(e, ERR_UNSUPPORTED, "%s is a part of a split model: choose another type", path);
    if (!oid || !hub_unhex(oid, out->sha256) || !json_is_integer(size) || json_integer_value(size) <= 0)
        return err_set(e, ERR_UNSUPPORTED, "%s tells no SHA-256 and size of %s: nothing to check it by", base, path);
    snprintf(out->path, sizeof out->path, "%s", path);
    snprintf(out->name, sizeof out->name, "%s", slash ? slash + 1 : path);
    out->bytes = json_integer_value(size);
    struct buf url = { .max = sizeof out->url - 1 };
    buf_printf(&url, "%s/%s/%s/resolve/main/", base, n->owner, n->repo);
    for (const char *p = path; *p; p++) /* of the plain characters only + means something in a URL */
        *p == '+' ? buf_puts(&url, "%2B") : buf_putc(&url, *p);
    snprintf(out->url, sizeof out->url, "%s", buf_str(&url));
    bool fits = !url.overflow;
    buf_release(&url);
    return fits ? ERR_OK : err_set(e, ERR_LIMIT, "the URL of %s is too long", path);
}

static void put_choices(const json_t *list, struct buf *out)
{
    size_t shown = 0;
    for (size_t i = 0; i < json_array_size(list) && shown < 8; i++) {
        const char *path = json_string_value(json_object_get(json_array_get(list, i), "path"));
        if (path && path_ok(path) && rank(path, "") != INT32_MAX)
            buf_printf(out, "%s%s", shown++ ? ", " : "", path);
    }
    if (!shown)
        buf_puts(out, "no .gguf files");
}

enum err_code hub_find(const struct hub_name *n, struct hub_file *out, struct err *e)
{
    const char *base;
    json_t *list = NULL;
    const json_t *best = NULL;
    int32_t best_rank = INT32_MAX;
    enum err_code c = endpoint(&base, e);
    if (!c)
        c = listing(n, base, &list, e);
    for (size_t i = 0; !c && i < json_array_size(list) && i < FILES_MAX; i++) {
        const json_t *entry = json_array_get(list, i);
        const char *path = json_string_value(json_object_get(entry, "path"));
        int32_t r = path ? rank(path, n->file) : INT32_MAX;
        if (r < best_rank) {
            best_rank = r;
            best = entry;
        }
    }
    if (!c && !best) {
        struct buf names = { 0 };
        put_choices(list, &names);
        c = err_set(e, ERR_NOT_FOUND, "%s/%s has no file for '%.100s'; it has %s", n->owner, n->repo,
                    *n->file ? n->file : "*.gguf", buf_str(&names));
        buf_release(&names);
    }
    if (!c)
        c = check(n, base, best, out, e);
    json_decref(list);
    return c;
}
