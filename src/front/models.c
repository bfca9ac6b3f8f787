/* models -- see models.h: the list, and how names are found. */
#include "front/models.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "front/models_impl.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FOLDER_ENTRIES_MAX = 100000, RESCAN_MS = 1000, NAMES_SHOWN = 12 };

static struct entry *by_id(struct models *m, const char *name)
{
    for (int i = 0; i < m->count; i++)
        if (!strcmp(m->entries[i].id, name))
            return &m->entries[i];
    return NULL;
}

static enum err_code say_hello(void *arg, struct link *k, const char *path, json_t *hello, struct err *e)
{
    struct models *m = arg;
    return m->o.hello ? m->o.hello(m->o.arg, k, path, hello, e) : ERR_OK;
}

void models_far_set(struct models *m, struct fleet_gateway *g, const char *id, bool ready, const json_t *facts)
{
    struct entry *e = by_id(m, id);
    if (!e && m->count == FRONT_MODELS_MAX)
        return;
    if (!e) {
        e = &m->entries[m->count++];
        *e = (struct entry){ .id = mem_strdup(id), .path = mem_strdup(""), .pinned = true };
        e->link = link_far_new(g, id, swap_changed, m);
    }
    if (link_is_far(e->link))
        link_far_set(e->link, ready, facts);
}

bool models_offered(const struct models *m, int i)
{
    const struct link *k = m->entries[i].link;
    return !link_is_far(k) || link_state(k) == LINK_READY;
}

static void pass_trust(void *arg, struct link *k, const json_t *said)
{
    struct models *m = arg;
    if (m->o.trust)
        m->o.trust(m->o.arg, k, said);
}

struct entry *models_add(struct models *m, const struct front_model *f)
{
    if (m->count == FRONT_MODELS_MAX || by_id(m, f->id))
        return NULL;
    struct entry *e = &m->entries[m->count++];
    *e = (struct entry){ .id = mem_strdup(f->id), .path = mem_strdup(f->path), .alias_count = f->alias_count,
                         .expected = !f->on_demand, .pinned = f->pinned, .keep_alive_s = f->keep_alive_s };
    memcpy(e->aliases, f->aliases, sizeof e->aliases);
    e->options = f->options ? json_deep_copy(f->options) : json_object();
    e->plan_kv = !json_object_get(e->options, "kv_memory");
    struct link_spec spec = { e->id, e->path, e->options, m->o.front->engine_argv, &m->o.front->spill,
                              say_hello, pass_trust };
    e->link = link_new(m->o.loop, &spec, swap_changed, m);
    return e;
}

/* ---- the folder */

static bool is_model_file(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && n < 256 && name[0] != '.' && !strcmp(name + n - 5, ".gguf") && strncmp(name, "mmproj", 6);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_file(struct models *m, const char *file)
{
    char id[256];
    struct buf path = { 0 };
    snprintf(id, sizeof id, "%.*s", (int)(strlen(file) - 5), file);
    buf_printf(&path, "%s/%s", m->folder, file);
    struct front_model f = { .id = id, .path = buf_str(&path), .options = m->o.front->folder_options,
                             .on_demand = true };
    if (!by_id(m, id) && !models_add(m, &f))
        log_line(LOG_WARN, "front", "%s is left out: at most %d models", id, FRONT_MODELS_MAX);
    buf_release(&path);
}

/* Models that came to the folder since; none ever leaves the list (one whose file is gone says so when asked for). */
static void scan(struct models *m)
{
    DIR *d = m->folder ? opendir(m->folder) : NULL;
    char **names = d ? mem_new(FRONT_MODELS_MAX, sizeof *names) : NULL;
    struct dirent *item;
    int count = 0;
    for (int i = 0; d && i < FOLDER_ENTRIES_MAX && count < FRONT_MODELS_MAX && (item = readdir(d)); i++)
        if (is_model_file(item->d_name))
            names[count++] = mem_strdup(item->d_name);
    if (d)
        closedir(d);
    if (count)
        qsort(names, (size_t)count, sizeof *names, by_name);
    for (int i = 0; i < count; i++) {
        add_file(m, names[i]);
        mem_free(names[i]);
    }
    mem_free(names);
    m->scanned_ns = clock_mono_ns();
}

void models_rescan(struct models *m)
{
    if (m->folder && clock_mono_ns() - m->scanned_ns > RESCAN_MS * 1000000LL)
        scan(m);
}

/* ---- life */

struct models *models_new(const struct models_options *o)
{
    struct models *m = MEM_NEW(struct models);
    *m = (struct models){ .o = *o, .folder = o->front->model_folder, .limit = o->front->memory_limit,
                          .load_wait_ms = o->front->load_wait_ms };
    m->last = &m->first;
    m->kick = loop_timer_new(o->loop, swap_run, m);
    m->tick = loop_timer_new(o->loop, swap_tick, m);
    for (int i = 0; i < o->front->model_count; i++)
        models_add(m, &o->front->models[i]);
    scan(m);
    return m;
}

void models_free(struct models *m)
{
    if (!m)
        return;
    ASSERT(!m->first); /* whoever waits forgets first */
    for (int i = 0; i < m->count; i++) {
        link_free(m->entries[i].link);
        json_decref(m->entries[i].options);
        mem_free(m->entries[i].id);
        mem_free(m->entries[i].path);
    }
    loop_timer_free(m->kick);
    loop_timer_free(m->tick);
    mem_free(m);
}

/* ---- looking */

int models_count(const struct models *m)
{
    return m->count;
}

struct link *models_link(const struct models *m, int i)
{
    ASSERT(i >= 0 && i < m->count);
    return m->entries[i].link;
}

int models_index(const struct models *m, const struct link *k)
{
    int i = 0;
    while (i < m->count && m->entries[i].link != k)
        i++;
    ASSERT(i < m->count);
    return i;
}

static bool is_far_alias(const struct link *k, const char *name)
{
    const json_t *names = json_object_get(link_facts(k), "aliases"), *v;
    size_t i;
    json_array_foreach(names, i, v)
        if (json_is_string(v) && !strcmp(json_string_value(v), name))
            return true;
    return false;
}

static struct entry *by_any_name(struct models *m, const char *name)
{
    struct entry *e = by_id(m, name);
    for (int i = 0; !e && i < m->count; i++)
        for (int a = 0; a < m->entries[i].alias_count; a++)
            if (!strcmp(m->entries[i].aliases[a], name))
                e = &m->entries[i];
    for (int i = 0; !e && i < m->count; i++)
        if (models_offered(m, i) && link_is_far(m->entries[i].link) && is_far_alias(m->entries[i].link, name))
            e = &m->entries[i];
    return e;
}

struct link *models_find(struct models *m, const char *name)
{
    if (!m->count)
        models_rescan(m);
    if (!m->count)
        return NULL;
    struct entry *e = *name ? by_any_name(m, name) : NULL;
    for (int i = 0; !e && i < m->count && (!*name || !strcmp(name, "default")); i++)
        if (models_offered(m, i))
            e = &m->entries[i];
    if (!e) {
        models_rescan(m);
        e = by_any_name(m, name);
    }
    return e ? e->link : NULL;
}

void models_names(const struct models *m, struct buf *out)
{
    int shown = 0, more = 0;
    for (int i = 0; i < m->count; i++) {
        if (!models_offered(m, i))
            continue;
        if (shown == NAMES_SHOWN)
            more++;
        else
            buf_printf(out, "%s%s", shown++ ? ", " : "", m->entries[i].id);
    }
    if (more)
        buf_printf(out, " and %d more", more);
    if (!shown)
        buf_puts(out, "none");
}

const char *models_path(const struct models *m, int i)
{
    return m->entries[i].path;
}

const char *models_alias(const struct models *m, int i, int n)
{
    return n < m->entries[i].alias_count ? m->entries[i].aliases[n] : NULL;
}

bool models_expected(const struct models *m, int i)
{
    const struct entry *e = &m->entries[i];
    return e->expected && (e->wanted_ns || (models_loaded(m, i) && link_state(e->link) != LINK_LEAVING));
}

int64_t models_need_bytes(const struct models *m, int i)
{
    return m->entries[i].need_bytes;
}

int64_t models_memory_limit(const struct models *m)
{
    return m->limit;
}

bool models_loaded(const struct models *m, int i)
{
    enum link_state s = link_state(m->entries[i].link);
    return s != LINK_OFF && s != LINK_MEASURING;
}

/* ---- figures */

static void per_model(const struct models *m, struct buf *out, const char *name, const char *type, const char *help,
                      int64_t (*value)(const struct models *m, int i))
{
    buf_printf(out, "# HELP tokenworks_%s %s\n# TYPE tokenworks_%s %s\n", name, help, name, type);
    for (int i = 0; i < m->count; i++) {
        buf_printf(out, "tokenworks_%s{model=", name);
        jsonx_quote(m->entries[i].id, strlen(m->entries[i].id), out);
        buf_printf(out, "} %lld\n", (long long)value(m, i));
    }
}

static int64_t loads(const struct models *m, int i)
{
    return m->entries[i].loads;
}

static int64_t unloads(const struct models *m, int i)
{
    return m->entries[i].unloads;
}

static int64_t in_memory(const struct models *m, int i)
{
    return models_loaded(m, i) ? m->entries[i].need_bytes : 0;
}

void models_metrics(const struct models *m, struct buf *out)
{
    per_model(m, out, "model_loads_total", "counter", "Times the model was loaded, restarts apart.", loads);
    per_model(m, out, "model_unloads_total", "counter", "Times the model was unloaded.", unloads);
    per_model(m, out, "model_memory_bytes", "gauge", "What the memory plan counts for it while it is loaded.",
              in_memory);
    buf_printf(out, "# HELP tokenworks_model_memory_limit_bytes What loaded models may need together; 0: no limit.\n"
               "# TYPE tokenworks_model_memory_limit_bytes gauge\ntokenworks_model_memory_limit_bytes %lld\n"
               "# HELP tokenworks_model_requests_waiting Requests that wait for their model to be loaded.\n"
               "# TYPE tokenworks_model_requests_waiting gauge\ntokenworks_model_requests_waiting %d\n"
               "# HELP tokenworks_model_requests_waited_total Requests that had to wait for their model.\n"
               "# TYPE tokenworks_model_requests_waited_total counter\ntokenworks_model_requests_waited_total %lld\n"
               "# HELP tokenworks_model_requests_refused_total Of these, refused in the end.\n"
               "# TYPE tokenworks_model_requests_refused_total counter\ntokenworks_model_requests_refused_total %lld\n",
               (long long)m->limit, m->waits, (long long)m->waited, (long long)m->refused);
}
