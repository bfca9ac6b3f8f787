/* calls_probe -- renders synthetic turns through a template and cuts the results: the tools of calls_derive.c. */
#ifndef API_CALLS_PROBE_H
#define API_CALLS_PROBE_H
#include "api/calls.h"

#define CALLS_USER "twUser"
#define CALLS_TEXT "twText"
#define CALLS_THOUGHT "twThought"

struct calls_probe {
    const struct template *t;
    const char *bos, *eos;
    json_t *tools;
    bool with_tools;
    enum calls_ids ids;
};

/* A user's message, then `turn` and `more` (both stolen; NULL: none). open: with the generation prompt. */
bool calls_probe_render(const struct calls_probe *p, json_t *turn, json_t *more, bool open, struct buf *out);
json_t *calls_probe_said(const char *content, const char *thought); /* an assistant's message */
/* The rendered turn behind what the generation prompt has written: both begin alike up to there. */
const char *calls_behind(const char *prompt, const char *turn);
/* Fills what every context needs beside the messages. */
void calls_context(const struct template *t, json_t *context, json_t *tools, const char *bos, const char *eos);
void calls_derive_thought(const struct calls_probe *p, struct calls_form *f);

/* ---- cutting text */
struct calls_split {
    char *pre, *post, *sep; /* new */
};
/* What ends a0 and a1 alike is pre, what begins a1 and a2 alike post; the rest of a1 is sep. A 0 that is a 1 in the
 * other becomes CALLS_INDEX. */
void calls_split(const char *a0, const char *a1, const char *a2, struct calls_split *out);
size_t calls_tag_floor(const char *text, size_t n); /* n, or where the tag begins that it falls into */
int calls_replace(struct buf *b, const char *from, const char *to, int max); /* how many; counts up to max */
void calls_blank_pairs(struct buf *b, bool numbers);
bool calls_cut_json(struct buf *b, const char *key); /* the JSON object whose first key it is becomes '\7' */
char *calls_trim(const char *s);
char *calls_trim_left(const char *s);
size_t calls_common_end(const char *s, const char *end); /* where in s the text begins that both end with */
size_t calls_tag_len(const char *s); /* the tag s begins with, <...> or [...]; 0: none */
#endif
