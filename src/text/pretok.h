/* pretok -- cuts text into the words inside which byte-pair merging may happen: a row of regular expressions
 * for every pre-tokeniser that model files name in tokenizer.ggml.pre.
 *
 * The only user of PCRE2. A compiled struct pretok is immutable; any thread may use it. */
#ifndef TEXT_PRETOK_H
#define TEXT_PRETOK_H
#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pretok_flag {
    PRETOK_IGNORE_MERGES = 1, /* a word that is a token stays whole, whatever the merges say */
    PRETOK_ADD_BOS = 2,       /* texts begin with BOS unless the file says otherwise */
    PRETOK_RAW = 4,           /* tokens are plain UTF-8 with <0xXX> for bytes, not the byte alphabet */
    PRETOK_ESCAPE = 8,        /* spaces become U+2581 before cutting */
    PRETOK_NEWLINES = 16,     /* a run of newlines that is a token stays whole */
    PRETOK_FORCE_BOS = 32,    /* BOS even when the file says no (files are known to be wrong) */
    PRETOK_MASK_LSTRIP = 64,  /* <mask> swallows the spaces before it */
};

enum { PRETOK_STAGES_MAX = 6 };

struct pretok_rule {
    const char *names; /* space-separated */
    unsigned flags;    /* of enum pretok_flag */
    const char *stage[PRETOK_STAGES_MAX]; /* applied in turn to the pieces of the one before */
};

struct pretok;

struct pretok_cuts {
    uint32_t *end; /* owned: where each piece ends; pieces are never empty and cover the text */
    size_t count, cap;
};

const struct pretok_rule *pretok_find(const char *name); /* NULL: unknown */
void pretok_names(struct buf *out);                      /* "gpt-2, llama-bpe, ..." for messages */

enum err_code pretok_new(const struct pretok_rule *rule, struct pretok **out, struct err *e);
void pretok_free(struct pretok *p);
/* text must be valid UTF-8 of less than 4 GiB. cuts is overwritten, its memory reused. */
enum err_code pretok_split(const struct pretok *p, const char *text, size_t n, struct pretok_cuts *cuts,
                           struct err *e);
void pretok_cuts_release(struct pretok_cuts *cuts);
#endif
