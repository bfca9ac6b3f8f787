/* lease_value -- see lease_value.h. */
#include "fleet/lease_value.h"

#include "base/json.h"

#include <inttypes.h>
#include <string.h>

#define NUMBER_MAX ((int64_t)1 << 53)

static enum err_code read_entry(const char *holder, const json_t *v, struct lease_entry *out, struct err *e)
{
    int64_t *const fields[] = { &out->n, &out->at_ms, &out->count };
    size_t n = strlen(holder);
    if (!n || n > LEASE_HOLDER_MAX || json_array_size(v) != 3)
        return err_set(e, ERR_INVALID, "a lease is not a holder and three numbers");
    memcpy(out->holder, holder, n + 1);
    for (size_t i = 0; i < 3; i++) {
        const json_t *x = json_array_get(v, i);
        if (!json_is_integer(x) || json_integer_value(x) < 0 || json_integer_value(x) > NUMBER_MAX)
            return err_set(e, ERR_INVALID, "a lease of %.80s has a number that is none", holder);
        *fields[i] = json_integer_value(x);
    }
    return ERR_OK;
}

static enum err_code read_all(json_t *v, struct lease_value *out, struct err *e)
{
    int64_t version = 0;
    json_t *leases = json_object_get(v, "leases"), *entry;
    const char *holder;
    enum err_code c = jsonx_get_int(v, "v", 1, 1, &version, e);
    if (!c)
        c = jsonx_get_int(v, "window", 0, NUMBER_MAX, &out->window, e);
    if (!c)
        c = jsonx_get_int(v, "spent", 0, NUMBER_MAX, &out->spent, e);
    if (c)
        return c;
    if (!version || !json_is_object(leases) || json_object_size(leases) > LEASE_HOLDERS_MAX)
        return err_set(e, ERR_INVALID, "it has no leases of at most %d holders", LEASE_HOLDERS_MAX);
    json_object_foreach(leases, holder, entry) {
        c = read_entry(holder, entry, &out->entries[out->entry_count++], e);
        if (c)
            return c;
    }
    return ERR_OK;
}

enum err_code lease_value_read(const char *text, size_t n, struct lease_value *out, struct err *e)
{
    struct lease_value v = { 0 };
    json_t *j = n <= LEASE_VALUE_BYTES_MAX ? jsonx_parse(text, n, e) : NULL;
    enum err_code c = json_is_object(j) ? read_all(j, &v, e)
                                        : err_set(e, ERR_INVALID, "a shared limit is not a JSON object");
    json_decref(j);
    if (!c)
        *out = v;
    return c;
}

void lease_value_write(const struct lease_value *v, struct buf *out)
{
    buf_printf(out, "{\"v\":1,\"window\":%" PRId64 ",\"spent\":%" PRId64 ",\"leases\":{", v->window, v->spent);
    for (int i = 0; i < v->entry_count; i++) {
        const struct lease_entry *x = &v->entries[i];
        buf_puts(out, i ? "," : "");
        jsonx_quote(x->holder, strlen(x->holder), out);
        buf_printf(out, ":[%" PRId64 ",%" PRId64 ",%" PRId64 "]", x->n, x->at_ms, x->count);
    }
    buf_puts(out, "}}");
}

struct lease_entry *lease_value_entry(struct lease_value *v, const char *holder)
{
    for (int i = 0; i < v->entry_count; i++)
        if (!strcmp(v->entries[i].holder, holder))
            return &v->entries[i];
    return NULL;
}

/* Q2: who is silent has spent what he held. */
static void write_off(struct lease_value *v, const struct lease_wish *w)
{
    for (int i = v->entry_count - 1; i >= 0; i--) {
        struct lease_entry *x = &v->entries[i];
        if (!strcmp(x->holder, w->holder) || w->now_ms - x->at_ms < LEASE_LAPSE_MS)
            continue;
        v->spent += x->n;
        *x = v->entries[--v->entry_count];
    }
}

int64_t lease_value_apply(struct lease_value *v, const struct lease_wish *w)
{
    if (v->window != w->window)
        *v = (struct lease_value){ .window = w->window };
    write_off(v, w);
    struct lease_entry *mine = lease_value_entry(v, w->holder);
    if (!mine && v->entry_count == LEASE_HOLDERS_MAX)
        return -1;
    if (!mine) {
        mine = &v->entries[v->entry_count++];
        *mine = (struct lease_entry){ .n = 0 };
        memcpy(mine->holder, w->holder, strnlen(w->holder, LEASE_HOLDER_MAX));
    }
    v->spent = v->spent + w->used > 0 ? v->spent + w->used : 0;
    int64_t taken = v->spent;
    for (int i = 0; i < v->entry_count; i++)
        taken += &v->entries[i] == mine ? 0 : v->entries[i].n;
    int64_t room = w->limit > taken ? w->limit - taken : 0, n = w->want < room ? w->want : room;
    mine->n = n < w->least && w->want >= w->least ? w->least : n; /* the limit shrank: what is held stands */
    mine->at_ms = w->now_ms;
    mine->count++;
    return mine->n;
}
