/* grammar_join -- grammars put together: literal text, text up to a mark, whole grammars, in sequence or as a choice.
 *
 * What a server asks of an answer is rarely one schema: a thought, then a call in a template's words, then a schema
 * for its arguments. An item is made by one of the functions below and may be used several times.
 *
 * Control tokens have no text of their own that a model could spell: in grammars they are written as five bytes that
 * UTF-8 does not have (grammar_control). Whoever makes a trie or follows a token uses grammar_token_bytes. */
#ifndef TEXT_GRAMMAR_JOIN_H
#define TEXT_GRAMMAR_JOIN_H
#include "base/buf.h"
#include "text/grammar.h"
#include "text/vocab.h"

enum { GRAMMAR_CONTROL_BYTES = 5 };
void grammar_control(int id, struct buf *out);
void grammar_token_bytes(const struct vocab *v, int id, struct buf *out);

struct grammar_join;
typedef uint32_t grammar_item;

struct grammar_join *grammar_join_new(void);
void grammar_join_free(struct grammar_join *j);
grammar_item grammar_join_text(struct grammar_join *j, const char *bytes, size_t n);
/* Characters, and the control tokens of `also` (5 bytes each, one after another), in which no mark occurs: to their
 * end (`to_mark` false), or with the first mark as their end. not_first: what they may not begin with (after white
 * space); NULL: nothing. */
grammar_item grammar_join_free_text(struct grammar_join *j, const struct buf *marks, size_t count, bool to_mark,
                                    const struct buf *also, const struct buf *not_first);
grammar_item grammar_join_regex(struct grammar_join *j, const char *pattern); /* ours, correct by construction */
grammar_item grammar_join_grammar(struct grammar_join *j, struct grammar *g); /* takes it */
grammar_item grammar_join_seq(struct grammar_join *j, const grammar_item *items, size_t n);
grammar_item grammar_join_alt(struct grammar_join *j, const grammar_item *items, size_t n);
grammar_item grammar_join_star(struct grammar_join *j, grammar_item item); /* item takes at least one byte */
grammar_item grammar_join_opt(struct grammar_join *j, grammar_item item);
/* The grammar of one item; the join is empty afterwards and freed. */
struct grammar *grammar_join_finish(struct grammar_join *j, grammar_item root, struct err *e);
/* From the grammar of a schema that allows strings of one language only: that language, without quotes and escapes.
 * false: it is no such schema. */
bool grammar_plain_text(const struct grammar *schema, struct grammar **out);
#endif
