/* serve_models -- see serve_models.h. */
#include "cmd/serve_models.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/model_path.h"
#include "cmd/serve_speed.h"
#include "model/adapter.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct serve_models {
    struct model_path found[FRONT_MODELS_MAX], drafts[FRONT_MODELS_MAX];
    json_t *options[FRONT_MODELS_MAX + 1]; /* by model; the last is the folder's */
    json_t *general;
};

static void set_int(json_t *o, const char *key, int64_t v)
{
    if (v > 0)
        json_object_set_new(o, key, json_integer(v));
}

static void set_text(json_t *o, const char *key, const char *v)
{
    if (v)
        json_object_set_new(o, key, json_string(v));
}

enum { LORA_SLOTS = 4, LORA_RANK = 64 }; /* for adapters that come later */

/* What the engine is told in its hello; what was not given is left to the engine's memory plan. */
static json_t *general_options(const struct serve_options *o)
{
    json_t *v = json_object();
    set_int(v, "threads", o->threads);
    set_int(v, "ctx", o->ctx);
    set_int(v, "kv_memory", o->kv_memory);
    set_int(v, "batch", o->batch);
    set_text(v, "kv_type", o->kv_type);
    set_text(v, "isa", o->isa);
    if (o->matryoshka)
        json_object_set_new(v, "matryoshka", json_true());
    set_text(v, "sandbox", o->sandbox);
    set_int(v, "max_body", o->max_body);
    if (o->lora_dirs.count) {
        set_int(v, "lora_slots", o->lora_slots ? o->lora_slots : LORA_SLOTS);
        set_int(v, "lora_rank", o->lora_rank ? o->lora_rank : LORA_RANK);
    }
    set_int(v, "ranks", o->ranks > 1 ? o->ranks : 0);
    set_text(v, "hostfile", o->hostfile);
    json_object_set_new(v, "air_gapped", json_boolean(o->air_gapped));
    json_object_set_new(v, "log_json", json_boolean(o->log_json));
    return v;
}

/* ---- a mapping of the configuration */

struct item {
    const struct yaml_doc *doc;
    const json_t *object;
    struct front_model *model;
    json_t *options;
    struct err *e;
};

static enum err_code refuse(const struct item *it, const char *key, const char *what)
{
    return yaml_err(it->doc, yaml_line(it->doc, it->object, key), it->e, "'%s' %s", key, what);
}

static enum err_code take_number(const struct item *it, const char *key, const char *as, int64_t min, int64_t max)
{
    const json_t *v = json_object_get(it->object, key);
    int64_t n = json_integer_value(v);
    if (!v)
        return ERR_OK;
    if (!json_is_integer(v) || n < min || n > max)
        return refuse(it, key, "must be a whole number within its limits");
    json_object_set_new(it->options, as, json_integer(n));
    return ERR_OK;
}

static enum err_code take_size(const struct item *it, const char *key, const char *as)
{
    const json_t *v = json_object_get(it->object, key);
    int64_t n = json_integer_value(v);
    if (!v)
        return ERR_OK;
    if (!json_is_integer(v) && (!json_is_string(v) || opt_parse_size(json_string_value(v), &n, it->e)))
        return refuse(it, key, "must be a size like 512M or 4G");
    json_object_set_new(it->options, as, json_integer(n));
    return ERR_OK;
}

static enum err_code take_alias(const struct item *it)
{
    const json_t *v = json_object_get(it->object, "alias");
    size_t n = json_is_array(v) ? json_array_size(v) : v ? 1 : 0;
    if (n > FRONT_ALIASES_MAX)
        return refuse(it, "alias", "has too many names");
    for (size_t i = 0; i < n; i++) {
        const json_t *name = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(name) || !json_string_length(name))
            return refuse(it, "alias", "must be a name or a list of names");
        it->model->aliases[it->model->alias_count++] = json_string_value(name);
    }
    return ERR_OK;
}

static enum err_code take_load(const struct item *it)
{
    const json_t *load = json_object_get(it->object, "load"), *pinned = json_object_get(it->object, "pinned");
    const json_t *keep = json_object_get(it->object, "keep-alive-s");
    const char *when = json_string_value(load);
    if (load && (!when || (strcmp(when, "start") && strcmp(when, "demand"))))
        return refuse(it, "load", "must be start or demand");
    if (pinned && !json_is_boolean(pinned))
        return refuse(it, "pinned", "must be true or false");
    if (keep && (!json_is_integer(keep) || json_integer_value(keep) < 0 || json_integer_value(keep) > 1 << 30))
        return refuse(it, "keep-alive-s", "must be a number of seconds");
    it->model->pinned = json_is_true(pinned);
    it->model->on_demand = !it->model->pinned && (!when || !strcmp(when, "demand"));
    it->model->keep_alive_s = json_integer_value(keep);
    return ERR_OK;
}

/* Sampling fields that requests have unless they say otherwise. */
static enum err_code take_defaults(const struct item *it)
{
    static const char *const known[] = { "temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "stop",
                                         "presence_penalty", "frequency_penalty", "repetition_penalty", NULL };
    const json_t *v = json_object_get(it->object, "defaults");
    const char *key;
    json_t *value;
    if (!v)
        return ERR_OK;
    if (!json_is_object(v))
        return refuse(it, "defaults", "must be a mapping of sampling fields");
    enum err_code c = yaml_refuse_unknown(it->doc, v, known, it->e);
    json_object_foreach((json_t *)(uintptr_t)v, key, value)
        if (!c && !(strcmp(key, "stop") ? json_is_number(value) : json_is_string(value) || json_is_array(value)))
            c = yaml_err(it->doc, yaml_line(it->doc, v, key), it->e, "'%s' must be %s", key,
                         strcmp(key, "stop") ? "a number" : "text or a list of texts");
    json_object_set(it->options, "defaults", (json_t *)(uintptr_t)v);
    return c;
}

static enum err_code add_lora(json_t *options, const char *name, size_t name_len, const char *file, struct err *e)
{
    if (access(file, R_OK))
        return err_errno(e, "the adapter %.*s: %s: cannot open", (int)name_len, name, file);
    json_t *list = json_object_get(options, "lora");
    if (!list) {
        list = json_array();
        json_object_set_new(options, "lora", list);
    }
    json_array_append_new(list, json_pack("{s:s%, s:s}", "name", name, name_len, "file", file));
    return ERR_OK;
}

/* lora: { NAME: FILE, ... } */
static enum err_code take_lora(const struct item *it)
{
    const json_t *v = json_object_get(it->object, "lora");
    const char *name;
    json_t *file;
    if (!v)
        return ERR_OK;
    if (!json_is_object(v) || json_object_size(v) > MODEL_ADAPTERS_MAX)
        return refuse(it, "lora", "must be a mapping of at most 16 names to files");
    json_object_foreach((json_t *)(uintptr_t)v, name, file) {
        if (!json_is_string(file))
            return yaml_err(it->doc, yaml_line(it->doc, v, name), it->e, "'%s' must be a file", name);
        enum err_code c = add_lora(it->options, name, strlen(name), json_string_value(file), it->e);
        if (c)
            return c;
    }
    return ERR_OK;
}

/* --lora NAME=FILE, of the first model. */
static enum err_code add_loras(struct serve_models *m, const struct serve_options *o, const struct front_options *f,
                               struct err *e)
{
    for (int i = 0; i < o->lora.count; i++) {
        const char *text = o->lora.v[i], *sign = strchr(text, '=');
        if (!sign || sign == text || !sign[1] || !f->model_count || o->lora.count > MODEL_ADAPTERS_MAX)
            return err_set(e, ERR_INVALID, "--lora %.80s: give NAME=FILE, at most %d times, with a --model", text,
                           MODEL_ADAPTERS_MAX);
        enum err_code c = add_lora(m->options[0], text, (size_t)(sign - text), sign + 1, e);
        if (c)
            return c;
    }
    return ERR_OK;
}

static enum err_code take_options(const struct item *it)
{
    static const char *const known[] = { "file", "dir", "alias", "load", "pinned", "keep-alive-s", "ctx", "kv-memory",
                                         "kv-type", "threads", "batch", "parallel", "defaults", "draft", "lora", NULL };
    const json_t *kv_type = json_object_get(it->object, "kv-type");
    enum err_code c = yaml_refuse_unknown(it->doc, it->object, known, it->e);
    c = c ? c : take_number(it, "ctx", "ctx", 1, 1 << 24);
    c = c ? c : take_size(it, "kv-memory", "kv_memory");
    c = c ? c : take_number(it, "threads", "threads", 1, 512);
    c = c ? c : take_number(it, "batch", "batch", 1, 1 << 16);
    c = c ? c : take_number(it, "parallel", "parallel", 1, 4096);
    if (!c && kv_type && !json_is_string(kv_type))
        c = refuse(it, "kv-type", "must be text");
    if (!c)
        set_text(it->options, "kv_type", json_string_value(kv_type));
    c = c ? c : take_lora(it);
    c = c ? c : take_defaults(it);
    c = c ? c : take_load(it);
    return c ? c : take_alias(it);
}

/* ---- the list */

static enum err_code clash(const struct front_options *f, int at, struct err *e)
{
    const struct front_model *a = &f->models[at];
    for (int i = 0; i < at; i++) {
        const struct front_model *b = &f->models[i];
        if (!strcmp(a->id, b->id))
            return err_set(e, ERR_INVALID, "two models are called %s; rename one of the files", a->id);
        for (int x = 0; x < a->alias_count; x++)
            for (int y = 0; y < b->alias_count; y++)
                if (!strcmp(a->aliases[x], b->aliases[y]))
                    return err_set(e, ERR_INVALID, "two models have the alias %s", a->aliases[x]);
    }
    return ERR_OK;
}

static enum err_code add(struct serve_models *m, const char *name, const struct serve_options *o,
                         struct front_options *f, struct err *e)
{
    int at = f->model_count;
    if (at == FRONT_MODELS_MAX)
        return err_set(e, ERR_LIMIT, "at most %d models can be served", FRONT_MODELS_MAX);
    enum err_code c = model_path_find(name, o->state, &m->found[at], e);
    if (c)
        return c;
    m->options[at] = json_deep_copy(m->general);
    f->models[at] = (struct front_model){ .id = m->found[at].id, .path = m->found[at].path, .options = m->options[at] };
    f->model_count++;
    return clash(f, at, e);
}

/* The small model that guesses for model `at`. */
static enum err_code set_draft(struct serve_models *m, int at, const char *name, const struct serve_options *o,
                               struct err *e)
{
    enum err_code c = model_path_find(name, o->state, &m->drafts[at], e);
    if (c)
        return err_prefix(e, "the draft model");
    json_object_set_new(m->options[at], "draft", json_string(m->drafts[at].path));
    return ERR_OK;
}

static enum err_code add_folder(struct serve_models *m, const char *dir, struct front_options *f, struct err *e)
{
    DIR *d = opendir(dir);
    if (!d)
        return err_errno(e, "%s: cannot read the folder of models", dir);
    bool any = false;
    for (const struct dirent *at; !any && (at = readdir(d));) {
        size_t n = strlen(at->d_name);
        any = n > 5 && !strcmp(at->d_name + n - 5, ".gguf");
    }
    closedir(d);
    if (!any)
        log_line(LOG_WARN, "serve", "%s holds no .gguf yet; one that comes can be asked for then", dir);
    f->model_folder = dir;
    m->options[FRONT_MODELS_MAX] = json_deep_copy(m->general);
    f->folder_options = m->options[FRONT_MODELS_MAX];
    return ERR_OK;
}

static enum err_code add_mapping(struct serve_models *m, const struct yaml_doc *doc, const json_t *v,
                                 const struct serve_options *o, struct front_options *f, struct err *e)
{
    const char *file = json_string_value(json_object_get(v, "file"));
    const char *dir = json_string_value(json_object_get(v, "dir"));
    const json_t *draft = json_object_get(v, "draft");
    struct front_model unused = { .id = "" };
    struct item it = { doc, v, &unused, NULL, e };
    if (!file == !dir || (dir && f->model_folder))
        return yaml_err(doc, yaml_line_of(doc, v), e, "a model has a 'file'; one entry may have a 'dir' instead");
    enum err_code c = file ? add(m, file, o, f, e) : add_folder(m, dir, f, e);
    if (c)
        return c;
    it.options = m->options[file ? f->model_count - 1 : FRONT_MODELS_MAX];
    if (file)
        it.model = &f->models[f->model_count - 1];
    c = take_options(&it);
    if (!c && draft && (!json_is_string(draft) || !file))
        c = refuse(&it, "draft", "must be the file or name of a model, beside 'file'");
    if (!c && draft)
        c = set_draft(m, f->model_count - 1, json_string_value(draft), o, e);
    return !c && file ? clash(f, f->model_count - 1, e) : c;
}

static enum err_code add_list(struct serve_models *m, const struct yaml_doc *doc, const struct serve_options *o,
                              struct front_options *f, struct err *e)
{
    enum err_code c = ERR_OK;
    size_t n = json_array_size(o->model_list);
    for (size_t i = 0; !c && i < n; i++) {
        const json_t *v = json_array_get(o->model_list, i);
        c = json_is_string(v) ? add(m, json_string_value(v), o, f, e) : add_mapping(m, doc, v, o, f, e);
    }
    return c;
}

static int64_t memory_available(void)
{
    struct buf b = { 0 };
    int64_t kib = 0;
    if (!file_read("/proc/meminfo", 1 << 16, &b, NULL)) {
        const char *p = strstr(buf_str(&b), "MemAvailable:");
        if (p)
            kib = strtoll(p + 13, NULL, 10);
    }
    buf_release(&b);
    return kib * 1024;
}

/* What a rank keeps of a conversation is in pages of its own: nothing may write a page but a step. */
static enum err_code check_ranks(const struct serve_options *o, const struct front_options *f, struct err *e)
{
    if (f->model_count != 1 || f->model_folder || o->memory_limit)
        return err_set(e, ERR_INVALID, "--ranks cuts the one --model of this server; --models and --memory are for "
                       "servers of whole ones");
    if (json_object_get(f->models[0].options, "lora") || o->lora_dirs.count)
        return err_set(e, ERR_UNSUPPORTED, "--ranks: LoRA adapters are not cut yet; merge them into the model's file");
    if (o->air_gapped)
        return err_set(e, ERR_INVALID, "--ranks: carriers speak with other machines, so --air-gapped cannot hold");
    if (o->kv_spill)
        return err_set(e, ERR_UNSUPPORTED, "--ranks: each rank has its own part of a page, so --kv-spill has no file "
                       "to put it in; leave it out");
    return ERR_OK;
}

enum err_code serve_models_find(const struct serve_options *o, const struct yaml_doc *config, struct front_options *f,
                                struct serve_models **out, struct err *e)
{
    struct serve_models *m = *out = MEM_NEW(struct serve_models);
    enum err_code c = ERR_OK;
    m->general = general_options(o);
    c = serve_speed_options(o, m->general, e);
    if (!c && o->draft && o->models.count > 1)
        c = err_set(e, ERR_INVALID, "--draft guesses for one --model; with several, name it beside each in --config");
    for (int i = 0; i < o->models.count && !c; i++)
        c = add(m, o->models.v[i], o, f, e);
    if (!c)
        c = add_list(m, config, o, f, e);
    if (!c && o->models_dir)
        c = add_folder(m, o->models_dir, f, e);
    if (!c && !f->model_count && !f->model_folder)
        c = add(m, "default", o, f, e);
    if (!c && o->draft && !f->model_count)
        c = err_set(e, ERR_INVALID, "--draft guesses for a --model, and none is given");
    if (!c && o->draft)
        c = set_draft(m, 0, o->draft, o, e);
    if (!c)
        c = add_loras(m, o, f, e);
    if (!c && o->ranks > 1)
        c = check_ranks(o, f, e);
    bool demand = f->model_folder != NULL;
    for (int i = 0; i < f->model_count; i++)
        demand = demand || f->models[i].on_demand;
    f->memory_limit = o->memory_limit || !demand ? o->memory_limit : memory_available() / 5 * 4;
    return c;
}

void serve_models_free(struct serve_models *m)
{
    if (!m)
        return;
    for (int i = 0; i < FRONT_MODELS_MAX; i++) {
        model_path_release(&m->found[i]);
        model_path_release(&m->drafts[i]);
    }
    for (int i = 0; i <= FRONT_MODELS_MAX; i++)
        json_decref(m->options[i]);
    json_decref(m->general);
    mem_free(m);
}
