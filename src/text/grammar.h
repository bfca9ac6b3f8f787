/* grammar -- what a model may write next: JSON under a schema, a regular expression, a GBNF grammar, choices.
 *
 * A grammar is compiled once and immutable: threads may share it. A state follows one text byte by byte and
 * belongs to one thread. Only texts that can still be completed are accepted: a state that is not dead has
 * a valid ending. What cannot be enforced is refused at compile time (ERR_UNSUPPORTED, naming the keyword
 * and its path in the schema), never approximated. */
#ifndef TEXT_GRAMMAR_H
#define TEXT_GRAMMAR_H
#include "base/err.h"
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct grammar;
struct grammar_state;
struct grammar_trie;

struct grammar *grammar_from_schema(const json_t *schema, struct err *e); /* keeps a reference while compiling */
struct grammar *grammar_json_object(struct err *e);                       /* any JSON object */
struct grammar *grammar_from_regex(const char *p, size_t n, struct err *e); /* matches all of the text */
struct grammar *grammar_from_choices(const char *const *words, const size_t *lengths, size_t count, struct err *e);
struct grammar *grammar_from_gbnf(const char *p, size_t n, struct err *e); /* begins at rule root */
void grammar_free(struct grammar *g);

struct grammar_state *grammar_start(const struct grammar *g);
struct grammar_state *grammar_state_clone(const struct grammar_state *s);
void grammar_state_copy(struct grammar_state *to, const struct grammar_state *from); /* both of one grammar */
void grammar_state_free(struct grammar_state *s);
/* Follows n bytes. false: the text cannot go on so, and the state stays as it was. */
bool grammar_advance_bytes(struct grammar_state *s, const char *p, size_t n);
bool grammar_can_end(const struct grammar_state *s);   /* the text so far is complete */
bool grammar_must_end(const struct grammar_state *s);  /* complete, and nothing may follow */

/* The bytes of a vocabulary's tokens as a tree; made once, immutable. A token without bytes (or NULL) is
 * never in a mask. The bytes are copied. */
struct grammar_token {
    const char *bytes;
    size_t len;
};
struct grammar_trie *grammar_trie_new(const struct grammar_token *tokens, size_t count);
/* One that is made when it is first prepared, by make(arg): several MB that most servers never need. Prepare before a
 * state's masks are asked for, on a thread that may take tens of milliseconds; any thread may, and again costs nothing.
 * One made by grammar_trie_new is prepared. */
typedef struct grammar_trie *grammar_trie_make(const void *arg);
struct grammar_trie *grammar_trie_later(grammar_trie_make *make, const void *arg, size_t count);
void grammar_trie_prepare(struct grammar_trie *t);
void grammar_trie_free(struct grammar_trie *t);
size_t grammar_trie_tokens(const struct grammar_trie *t);
/* Sets bit i of bits (count of them, whole words written) when token i may come next. The masks of states
 * inside strings and numbers are kept in the cache, which may be NULL; one thread at a time. */
struct grammar_cache;
struct grammar_cache *grammar_cache_new(const struct grammar *g, const struct grammar_trie *t);
void grammar_cache_free(struct grammar_cache *c);
void grammar_mask(const struct grammar_state *s, const struct grammar_trie *t, struct grammar_cache *c, uint32_t *bits);
#endif
