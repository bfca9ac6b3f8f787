/* stop -- see stop.h. */
#include "api/stop.h"

#include "base/assert.h"
#include "base/mem.h"

void stop_set_add(struct stop_set *s, const char *text, int len)
{
    ASSERT(s->count < STOP_STRINGS_MAX && len >= 1 && len <= STOP_BYTES_MAX);
    struct stop_string *t = &s->strings[s->count++];
    t->text = mem_strndup(text, (size_t)len);
    t->len = len;
    t->fail = mem_new((size_t)len, sizeof *t->fail);
    for (int i = 1, k = 0; i < len; i++) {
        while (k && text[k] != text[i])
            k = t->fail[k - 1];
        k += text[k] == text[i];
        t->fail[i] = (uint16_t)k;
    }
}

void stop_set_release(struct stop_set *s)
{
    for (int i = 0; i < s->count; i++) {
        mem_free(s->strings[i].text);
        mem_free(s->strings[i].fail);
    }
    *s = (struct stop_set){ 0 };
}

/* One byte through one automaton; true when it completes the string. */
static bool step(const struct stop_string *t, uint16_t *at, char c)
{
    int k = *at;
    while (k && t->text[k] != c)
        k = t->fail[k - 1];
    k += t->text[k] == c;
    *at = (uint16_t)(k == t->len ? t->fail[k - 1] : k);
    return k == t->len;
}

bool stop_feed(const struct stop_set *s, struct stop_state *st, const char *text, size_t n, size_t *used,
               size_t *match)
{
    for (size_t i = 0; i < n; i++) {
        int longest = 0;
        for (int k = 0; k < s->count; k++)
            if (step(&s->strings[k], &st->at[k], text[i]) && s->strings[k].len > longest)
                longest = s->strings[k].len;
        if (longest) {
            *used = i + 1;
            *match = (size_t)longest;
            return true;
        }
    }
    return false;
}

size_t stop_held(const struct stop_set *s, const struct stop_state *st)
{
    size_t held = 0;
    for (int k = 0; k < s->count; k++)
        if (st->at[k] > held)
            held = st->at[k];
    return held;
}
