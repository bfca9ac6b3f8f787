/* calls_derive -- see calls.h: renders turns with sentinels and looks at what stands round them.
 *
 * Of two calls in a turn, A0 args A1 args A2, what ends A0 and A1 alike is `pre`, what begins A1 and A2 alike is
 * `post`, the rest of A1 separates. Pairs of a call's arguments come apart the same way. Cuts never fall inside a
 * tag. What the generation prompt has already written is no part of the answer. */
#include "api/calls.h"
#include "api/calls_probe.h"

#include "base/mem.h"

#include <string.h>

static const char KEY_A[] = "twKeyA", KEY_B[] = "twKeyB";
static const char *const NAME[] = { "twFn1", "twFn2" };
enum { SENTINEL_A = 471100, SENTINEL_B = 471101 };

static json_t *sentinel_tools(void)
{
    json_t *list = json_array();
    for (int i = 0; i < 2; i++)
        json_array_append_new(list, json_pack("{s:s, s:{s:s, s:s, s:{s:s, s:{s:{s:s,s:s}, s:{s:s,s:s}}, s:[]}}}",
                              "type", "function", "function", "name", NAME[i], "description", "x", "parameters", "type",
                              "object", "properties", KEY_A, "type", "string", "description", "x", KEY_B, "type",
                              "string", "description", "x", "required"));
    return list;
}

static json_t *call(enum calls_ids ids, int i, bool numbers)
{
    static const char *const id[][2] = { { "call_0123456789abcdefghijklX0", "call_0123456789abcdefghijklX1" },
                                         { "call0000a", "call0000b" },
                                         { "functions.twFn1:0", "functions.twFn2:1" } };
    json_t *args = numbers ? json_pack("{s:i,s:i}", KEY_A, SENTINEL_A, KEY_B, SENTINEL_B)
                           : json_pack("{s:s,s:s}", KEY_A, "twValA", KEY_B, "twValB");
    return json_pack("{s:s,s:s,s:{s:s,s:o}}", "id", id[ids][i], "type", "function", "function", "name", NAME[i],
                     "arguments", args);
}

static json_t *calling(enum calls_ids ids, int count, bool numbers)
{
    json_t *calls = json_array(), *m = calls_probe_said("", NULL);
    for (int i = 0; i < count; i++)
        json_array_append_new(calls, call(ids, i, numbers));
    json_object_set_new(m, "tool_calls", calls);
    return m;
}

/* ---- cutting */

/* Replaces the sentinels by holes, and each call's arguments by '\7'. NULL: not `count` calls there. */
static char *blank(const char *text, enum calls_ids ids, int count)
{
    struct buf b = { 0 };
    buf_puts(&b, text);
    bool ok = true;
    for (int i = 0; i < count && ok; i++) {
        json_t *c = call(ids, i, false);
        char hole[] = { CALLS_NAME, 0 }, id[] = { CALLS_ID, 0 };
        if (ids != CALLS_ID_NAMED)
            calls_replace(&b, json_string_value(json_object_get(c, "id")), id, 8);
        json_decref(c);
        ok = calls_replace(&b, NAME[i], hole, 8) > 0;
        ok = ok && calls_cut_json(&b, KEY_A);
    }
    char *taken = buf_take(&b);
    if (ok)
        return taken;
    mem_free(taken);
    return NULL;
}

/* Splits three parts that two marks '\7' separate. */
static void parts(const char *text, char mark, char *part[3])
{
    for (int i = 0; i < 3; i++) {
        const char *end = i < 2 ? strchr(text, mark) : NULL;
        part[i] = end ? mem_strndup(text, (size_t)(end - text)) : mem_strdup(text);
        text = end ? end + 1 : text + strlen(text);
    }
}

static void free_parts(char *part[3])
{
    for (int i = 0; i < 3; i++)
        mem_free(part[i]);
}

/* ---- pairs */

/* One flavour of values: texts or numbers. The region is PRE key mid value END+PRE key mid value END, keys and values
 * blanked to 4 and 6. *pre, *mid, *end and *sep are new; false: it is not so. */
static bool pair_form(const char *region, char **pre, char **mid, char **end, char **sep)
{
    struct calls_split s;
    const char *key = strchr(region, CALLS_KEY), *value = key ? strchr(key, 6) : NULL;
    const char *key2 = value ? strrchr(region, 6) : NULL;
    if (!key2 || key2 == value)
        return false;
    *mid = mem_strndup(key + 1, (size_t)(value - key - 1));
    size_t n = strlen(*mid);
    if (key2 < value + n + 2 || memcmp(key2 - n, *mid, n) || key2[-(ptrdiff_t)n - 1] != CALLS_KEY) {
        mem_free(*mid);
        return false;
    }
    char *a0 = mem_strndup(region, (size_t)(key - region));
    char *a1 = mem_strndup(value + 1, (size_t)(key2 - value - 1) - n - 1);
    calls_split(a0, a1, key2 + 1, &s);
    mem_free(a0);
    mem_free(a1);
    *pre = s.pre;
    *end = s.post;
    *sep = s.sep;
    return true;
}

/* Blanks the keys and values of a rendered call, then finds the form of a pair. */
static bool pairs_of(const char *text, bool numbers, char **pre, char **mid, char **end, char **sep)
{
    struct buf b = { 0 };
    buf_puts(&b, text);
    calls_blank_pairs(&b, numbers);
    bool ok = pair_form(buf_str(&b), pre, mid, end, sep);
    buf_release(&b);
    return ok;
}

/* Like blank, for calls whose arguments are pairs. */
static char *blank_pairs(const char *text, const struct calls_pairs *pairs, int count)
{
    struct buf b = { 0 }, out = { 0 };
    static const char hole[] = { CALLS_NAME, 0 };
    bool ok = true;
    buf_puts(&b, text);
    calls_blank_pairs(&b, false);
    for (int i = 0; i < count && ok; i++)
        ok = calls_replace(&b, NAME[i], hole, 8) > 0;
    const char *at = buf_str(&b);
    for (int i = 0; i < count && ok; i++) {
        const char *key = strchr(at, CALLS_KEY), *value = key ? strchr(key, 6) : NULL;
        const char *last = value ? strchr(value + 1, 6) : NULL;
        ok = last && (size_t)(key - at) >= strlen(pairs->pre) && strlen(last + 1) >= strlen(pairs->end_text);
        if (ok) {
            buf_append(&out, at, (size_t)(key - at) - strlen(pairs->pre));
            buf_putc(&out, 7);
            at = last + 1 + strlen(pairs->end_text);
        }
    }
    buf_puts(&out, at);
    buf_release(&b);
    char *taken = buf_take(&out);
    if (ok)
        return taken;
    mem_free(taken);
    return NULL;
}

static void find_quote(struct calls_pairs *p)
{
    size_t n = strlen(p->mid_json);
    if (strlen(p->mid_text) > n && !memcmp(p->mid_text, p->mid_json, n) && n) {
        p->quote = mem_strdup(p->mid_text + n);
        size_t q = strlen(p->quote);
        if (strlen(p->end_text) < q || memcmp(p->end_text, p->quote, q)) { /* no closing quote: two kinds of tag */
            mem_free(p->quote);
            p->quote = NULL;
        }
    }
}

static bool derive_pairs(const struct calls_probe *p, const char *prompt, struct calls_form *f)
{
    struct buf texts = { 0 }, numbers = { 0 };
    char *sep = NULL;
    bool ok = calls_probe_render(p, calling(p->ids, 1, false), NULL, false, &texts) &&
              calls_probe_render(p, calling(p->ids, 1, true), NULL, false, &numbers) &&
              pairs_of(calls_behind(prompt, buf_str(&texts)), false, &f->pairs.pre, &f->pairs.mid_text,
                       &f->pairs.end_text,
                       &f->pairs.sep);
    if (ok) {
        char *pre = NULL;
        ok = pairs_of(calls_behind(prompt, buf_str(&numbers)), true, &pre, &f->pairs.mid_json, &f->pairs.end_json,
                      &sep);
        mem_free(pre);
        mem_free(sep);
    }
    if (ok)
        find_quote(&f->pairs);
    buf_release(&texts);
    buf_release(&numbers);
    return ok;
}

/* ---- calls */

/* The turn's end as a turn of text shows it, cut off a turn of calls. */
static void cut_turn_end(const struct calls_probe *p, const char *prompt, char *tail)
{
    struct buf b = { 0 };
    if (calls_probe_render(p, calls_probe_said(CALLS_TEXT, NULL), NULL, false, &b)) {
        const char *at = strstr(calls_behind(prompt, buf_str(&b)), CALLS_TEXT);
        char *end = calls_trim(at ? at + strlen(CALLS_TEXT) : ""), *found = *end ? strstr(tail, end) : NULL;
        if (found)
            *found = '\0';
        else
            tail[calls_common_end(tail, end)] = '\0';
        mem_free(end);
    }
    buf_release(&b);
    char *eos = *p->eos ? strstr(tail, p->eos) : NULL;
    if (eos)
        *eos = '\0';
    size_t n = strlen(tail);
    while (n && strchr(" \n\t\r", tail[n - 1]))
        tail[--n] = '\0';
}

/* Thoughts, even empty ones, stand before the calls in some turns. */
static void drop_thought(const struct calls_form *f, char **text)
{
    char *at = f->think_close ? strstr(*text, f->think_close) : NULL;
    const char *from = at ? at + strlen(f->think_close) : *text;
    bool tagged = strcspn(from, "<[{") < strcspn(from, "\1");
    char *rest = tagged ? calls_trim_left(from) : mem_strdup(from); /* what is no tag keeps its space: " to=" */
    mem_free(*text);
    *text = rest;
}

/* An opening that the turn of one call has as well is not the list's. */
static void set_form(struct calls_form *f, char *part[3], bool many)
{
    struct calls_split s = { 0 };
    f->many = many;
    if (many) {
        calls_split(part[0], part[1], part[2], &s);
        size_t open = strlen(part[0]) - strlen(s.pre);
        f->open = mem_strndup(part[0], open);
        f->close = mem_strdup(part[2] + strlen(s.post));
        f->pre = s.pre;
        f->post = s.post;
        f->sep = s.sep;
        return;
    }
    f->open = mem_strdup("");
    f->close = mem_strdup("");
    f->sep = mem_strdup("");
    f->pre = mem_strdup(part[0]);
    f->post = mem_strdup(part[1]);
}

/* With one way of writing ids. false: the template shows no calls so. */
static bool derive_with(const struct calls_probe *p, const char *prompt, struct calls_form *f)
{
    struct buf one = { 0 }, two = { 0 };
    char *text = NULL, *part[3] = { NULL };
    bool ok = calls_probe_render(p, calling(p->ids, 1, false), NULL, false, &one), pairs = false, many = false;
    if (ok) {
        text = blank(calls_behind(prompt, buf_str(&one)), p->ids, 1);
        pairs = !text;
        if (pairs && derive_pairs(p, prompt, f))
            text = blank_pairs(calls_behind(prompt, buf_str(&one)), &f->pairs, 1);
        ok = text != NULL;
    }
    if (ok && calls_probe_render(p, calling(p->ids, 2, false), NULL, false, &two)) {
        const char *turn = calls_behind(prompt, buf_str(&two));
        char *both = pairs ? blank_pairs(turn, &f->pairs, 2) : blank(turn, p->ids, 2);
        many = both != NULL;
        if (many) {
            mem_free(text);
            text = both;
        }
    }
    if (ok) {
        parts(text, 7, part);
        cut_turn_end(p, prompt, part[many ? 2 : 1]);
        drop_thought(f, &part[0]);
        set_form(f, part, many);
        f->shape = pairs ? CALLS_PAIRS : CALLS_JSON;
        f->ids = p->ids;
    }
    free_parts(part);
    mem_free(text);
    buf_release(&one);
    buf_release(&two);
    return ok;
}

static bool shows(const struct calls_probe *p, json_t *turn, json_t *more, const char *what)
{
    struct buf b = { 0 };
    bool ok = calls_probe_render(p, turn, more, true, &b) && strstr(buf_str(&b), what);
    buf_release(&b);
    return ok;
}

static void derive_calls(struct calls_probe *p, struct calls_form *f)
{
    struct buf prompt = { 0 };
    static const enum calls_ids order[] = { CALLS_ID_LONG, CALLS_ID_NINE, CALLS_ID_NAMED };
    p->with_tools = true;
    bool shown = calls_probe_render(p, NULL, NULL, true, &prompt);
    f->lists_tools = shown && strstr(buf_str(&prompt), NAME[0]);
    p->with_tools = f->lists_tools;
    if (!f->lists_tools)
        shown = calls_probe_render(p, NULL, NULL, true, &prompt);
    for (size_t i = 0; shown && i < MEM_COUNT(order) && !f->writes_calls; i++) {
        p->ids = order[i];
        f->writes_calls = derive_with(p, buf_str(&prompt), f);
    }
    if (f->writes_calls) {
        json_t *result = json_pack("{s:s,s:s,s:s,s:s}", "role", "tool", "content", "twResult", "tool_call_id", "",
                                   "name", NAME[0]), *c = call(p->ids, 0, false);
        json_object_set(result, "tool_call_id", json_object_get(c, "id"));
        json_decref(c);
        f->origin = "template";
        f->writes_results = shows(p, calling(p->ids, 1, false), result, "twResult");
    } else {
        if (!calls_known(buf_str(&prompt), f))
            calls_generic(f);
        json_t *result = json_pack("{s:s,s:s,s:s,s:s}", "role", "tool", "content", "twResult", "tool_call_id",
                                   "functions.twFn1:0", "name", NAME[0]);
        f->writes_results = shows(p, calls_probe_said(CALLS_TEXT, NULL), result, "twResult");
    }
    buf_release(&prompt);
}

struct calls_form *calls_derive(const struct template *t, const char *bos, const char *eos)
{
    struct calls_form *f = MEM_NEW(struct calls_form);
    struct calls_probe p = { .t = t, .bos = bos, .eos = eos, .tools = sentinel_tools() };
    calls_derive_thought(&p, f);
    derive_calls(&p, f);
    calls_find_marker(f);
    json_decref(p.tools);
    return f;
}
