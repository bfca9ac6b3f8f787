/* ollama -- the routes of Ollama's API that are about models: lists, facts, its version; and those that would bring,
 * change or remove one, which are the operator's here.
 *
 * A model is listed as ID:latest, as Ollama names one without a tag. What only a loaded model knows (its family, size,
 * context) is left empty for one that never was. */
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "front/front_impl.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* The version of Ollama's API this dialect was written against; some clients ask for at least one. */
#define OLLAMA_API "0.12.0"

enum { DIGEST_HEX = 64, TIME_BYTES = 40 };

static void reply(struct front *f, struct http_exchange *x, json_t *v)
{
    struct buf b = { 0 };
    jsonx_dump(v, &b);
    json_decref(v);
    front_reply_json(f, x, 200, &b);
    buf_release(&b);
}

static void refuse(struct front *f, struct http_exchange *x, int status, const char *message)
{
    front_reply_error(f, x, &(struct error){ .status = status, .message = message }, NULL);
}

static void put_time(time_t t, char out[TIME_BYTES])
{
    struct tm tm;
    strftime(out, TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm) ? &tm : &(struct tm){ .tm_mday = 1 });
}

static int64_t fact(const json_t *facts, const char *key)
{
    return json_integer_value(json_object_get(facts, key));
}

static const char *word(const json_t *facts, const char *key)
{
    const char *s = json_string_value(json_object_get(facts, key));
    return s ? s : "";
}

/* "135M", "7.6B" */
static json_t *parameter_size(int64_t params)
{
    if (params >= 1000000000)
        return json_sprintf("%.1fB", (double)params / 1e9);
    return params ? json_sprintf("%.0fM", (double)params / 1e6) : json_string("");
}

static json_t *details(const json_t *facts)
{
    const char *family = word(facts, "arch");
    json_t *d = json_pack("{s:s, s:s, s:s, s:[s], s:s}", "parent_model", "", "format", "gguf", "family", family,
                          "families", family, "quantization_level", word(facts, "type"));
    json_object_set_new(d, "parameter_size", parameter_size(fact(facts, "params")));
    return d;
}

/* The SHA-256 that was noted beside the file when it was fetched; "" where there is none. */
static void find_digest(const char *path, char hex[DIGEST_HEX + 1])
{
    struct buf name = { 0 }, text = { 0 };
    hex[0] = '\0';
    buf_printf(&name, "%s.sha256", path);
    if (!file_read(buf_str(&name), 4096, &text, NULL) && text.len >= DIGEST_HEX &&
        strspn(buf_str(&text), "0123456789abcdef") == DIGEST_HEX) {
        memcpy(hex, text.data, DIGEST_HEX);
        hex[DIGEST_HEX] = '\0';
    }
    buf_release(&name);
    buf_release(&text);
}

/* What the lists and show have in common. */
static json_t *model_object(const struct front *f, int i)
{
    const struct link *k = models_link(f->models, i);
    const char *path = models_path(f->models, i);
    char at[TIME_BYTES], digest[DIGEST_HEX + 1];
    struct stat st = { 0 };
    bool there = !stat(path, &st);
    put_time(there ? st.st_mtime : 0, at);
    find_digest(path, digest);
    json_t *name = json_sprintf("%s:latest", link_model_id(k));
    json_t *v = json_pack("{s:O, s:o, s:s, s:I, s:s, s:o}", "name", name, "model", name, "modified_at", at, "size",
                          (json_int_t)(there ? st.st_size : 0), "digest", digest, "details", details(link_facts(k)));
    return v;
}

void answer_tags(struct front *f, struct http_exchange *x, const struct route *r)
{
    json_t *list = json_array();
    models_rescan(f->models);
    for (int i = 0; i < models_count(f->models); i++)
        if (models_offered(f->models, i))
            json_array_append_new(list, model_object(f, i));
    reply(f, x, json_pack("{s:o}", "models", list));
}

void answer_ps(struct front *f, struct http_exchange *x, const struct route *r)
{
    json_t *list = json_array();
    for (int i = 0; i < models_count(f->models); i++) {
        const struct link *k = models_link(f->models, i);
        if (link_state(k) != LINK_READY)
            continue;
        json_t *v = model_object(f, i);
        int64_t bytes = fact(link_facts(k), "weight_bytes") + fact(link_facts(k), "kv_bytes");
        json_object_del(v, "modified_at");
        json_object_set_new(v, "size", json_integer(bytes));
        json_object_set_new(v, "size_vram", json_integer(0));
        json_object_set_new(v, "context_length", json_integer(fact(link_facts(k), "ctx")));
        json_object_set_new(v, "expires_at", json_string("9999-12-31T23:59:59Z")); /* when its memory is needed */
        json_array_append_new(list, v);
    }
    reply(f, x, json_pack("{s:o}", "models", list));
}

void answer_version(struct front *f, struct http_exchange *x, const struct route *r)
{
    reply(f, x, json_pack("{s:s}", "version", OLLAMA_API "+tokenworks." TW_VERSION));
}

/* {"model": NAME}, or "name" as older clients say. */
static struct link *asked_for(struct front *f, struct http_exchange *x)
{
    struct http_slice body = http_request_body(x);
    json_t *in = jsonx_parse(body.p, body.n, NULL);
    const char *name = word(in, "model");
    name = *name ? name : word(in, "name");
    struct link *k = *name ? front_find_named(f, DIALECT_OLLAMA, name) : NULL;
    if (!json_is_object(in) || !*name) {
        refuse(f, x, 400, "the body must be {\"model\": NAME}");
    } else if (!k) {
        struct buf sentence = { 0 };
        buf_printf(&sentence, "model '%.200s' not found", name);
        refuse(f, x, 404, buf_str(&sentence));
        buf_release(&sentence);
    }
    json_decref(in);
    return k;
}

/* GGUF's keys, as far as the engine told them. */
static json_t *model_info(const json_t *facts)
{
    static const struct { const char *fact, *key; } keys[] = {
        { "ctx_train", "context_length" }, { "dim", "embedding_length" }, { "layers", "block_count" },
        { "vocab", "vocab_size" },
    };
    const char *arch = word(facts, "arch");
    json_t *info = json_pack("{s:s}", "general.architecture", arch);
    char key[128];
    if (fact(facts, "params"))
        json_object_set_new(info, "general.parameter_count", json_integer(fact(facts, "params")));
    for (size_t i = 0; i < MEM_COUNT(keys); i++) {
        snprintf(key, sizeof key, "%.60s.%s", arch, keys[i].key);
        if (fact(facts, keys[i].fact))
            json_object_set_new(info, key, json_integer(fact(facts, keys[i].fact)));
    }
    return info;
}

void answer_show(struct front *f, struct http_exchange *x, const struct route *r)
{
    struct link *k = asked_for(f, x);
    for (int i = 0; k && i < models_count(f->models); i++) {
        if (models_link(f->models, i) != k)
            continue;
        json_t *v = model_object(f, i);
        json_t *can = json_pack("[s, s]", "completion", "tools");
        if (json_is_true(json_object_get(link_facts(k), "thinks")))
            json_array_append_new(can, json_string("thinking"));
        json_object_set_new(v, "modelfile", json_sprintf("# %s is served by Tokenworks\nFROM %s\n", link_model_id(k),
                                                         link_model_id(k)));
        json_object_set_new(v, "parameters", json_sprintf("num_ctx %lld", (long long)fact(link_facts(k), "ctx")));
        json_object_set_new(v, "template", json_string(""));
        json_object_set_new(v, "model_info", model_info(link_facts(k)));
        json_object_set_new(v, "capabilities", can);
        reply(f, x, v);
        return;
    }
}

/* What is here already needs no fetching, and the client may go on; the rest is the operator's to bring. */
void answer_pull(struct front *f, struct http_exchange *x, const struct route *r)
{
    static const char success[] = "{\"status\":\"success\"}\n";
    struct http_slice body = http_request_body(x);
    json_t *in = jsonx_parse(body.p, body.n, NULL);
    const char *name = word(in, "model");
    name = *name ? name : word(in, "name");
    bool here = *name && front_find_named(f, DIALECT_OLLAMA, name);
    json_decref(in);
    struct http_reply whole = { .status = 200, .content_type = "application/x-ndjson" };
    if (here)
        front_reply_bytes(f, x, &whole, success, sizeof success - 1);
    else
        refuse(f, x, 501, "models are brought to this server by its operator: tokenworks pull NAME");
}

void answer_not_here(struct front *f, struct http_exchange *x, const struct route *r)
{
    refuse(f, x, 501, "this server's models are its operator's files: they are not made, copied, sent or removed over "
           "HTTP");
}
