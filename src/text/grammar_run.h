/* grammar_run -- the automaton at work: configurations, frames and one step by one byte.
 *
 * A state is a set of configurations: one for each way the text so far can be read. A configuration is
 * where it stands in a lexeme or between two (mode), and the stack of open arrays, objects or rules
 * (frame): frames are immutable, counted and shared. A configuration is only made if it can be finished;
 * so a text that a state accepts is the beginning of a complete one. */
#ifndef TEXT_GRAMMAR_RUN_H
#define TEXT_GRAMMAR_RUN_H
#include "text/grammar_impl.h"

enum g_mode {
    GM_VALUE, GM_LEX, GM_STR, GM_ITEM1, GM_KEY1, GM_KEY, GM_INKEY, GM_LITERAL, GM_COLON, GM_AFTER,
    GM_TERMINAL, GM_DONE, /* GBNF: inside a terminal; nothing may follow */
};

struct g_frame {
    struct g_frame *parent;
    uint32_t refs;
    uint32_t spec;         /* array or object; GBNF: the element to go on with */
    bool object;
    bool bnf;              /* spec is an element of a rule */
    uint32_t count, hits;  /* members so far; of them, those for contains */
    uint32_t nseen, nkeys; /* words of the bit set of names seen; hashes of other keys */
    uint64_t word[];       /* nseen, then nkeys */
};

struct g_cfg {
    struct g_frame *f;     /* a reference; NULL at the top */
    uint8_t mode, esc;
    uint16_t space;        /* blanks in this run */
    uint32_t a, b;         /* by mode: value, DFA, names' node; state of the DFA */
    uint32_t n;            /* characters so far; class of a key */
    uint32_t code;         /* \u digits so far */
    uint64_t hash;         /* of the key so far */
};

struct g_set {
    struct g_cfg *v;
    uint32_t n, cap;
    uint32_t work; /* expansions since it was cleared */
};

struct grammar_state {
    const struct grammar *g;
    struct g_set set, next, before; /* before: the token in hand; kept for its room */
};

void g_set_clear(struct g_set *s);
void g_set_release(struct g_set *s);
void g_set_copy(struct g_set *to, const struct g_set *from);
void g_set_push(struct g_set *s, struct g_cfg c);           /* takes a new reference to its frame; no doubles */
void g_step(const struct grammar *g, const struct g_cfg *c, unsigned byte, struct g_set *out);
bool g_cfg_can_end(const struct grammar *g, const struct g_cfg *c);
struct g_frame *g_frame_ref(struct g_frame *f);
void g_frame_drop(struct g_frame *f);
void g_bnf_expand(const struct grammar *g, uint32_t element, struct g_frame *f, struct g_set *out, int depth);
#endif
