/* vocab_impl -- what a vocabulary is inside, for the files of this floor that encode with it.
 *
 * Invariants, from vocab_new on:
 *  I1  symbols are numbered: 0..count-1 the file's tokens, count..symbols-1 strings only merges know.
 *  I2  the hash table finds the first symbol with a given text; hash[i] is the FNV-1a state after that text,
 *      so that the hash of "left then right" continues from the state of left.
 *  I3  every id field is -1 or a token. */
#ifndef TEXT_VOCAB_IMPL_H
#define TEXT_VOCAB_IMPL_H
#include "text/merge.h"
#include "text/pretok.h"
#include "text/vocab.h"

enum vocab_attr {
    ATTR_NORMAL = 1, ATTR_UNKNOWN = 2, ATTR_CONTROL = 4, ATTR_USER = 8, ATTR_UNUSED = 16, ATTR_BYTE = 32,
    ATTR_LSTRIP = 64,  /* swallows the white space before it */
    ATTR_RSTRIP = 128, /* and after it */
    ATTR_END = 256,    /* generation stops here */
};

struct vocab_span {
    uint32_t off, len; /* in vocab.blob */
};

struct vocab_merge { /* open addressing on (left, right); left -1: free */
    int32_t left, right, result;
    uint32_t rank;
};

struct vocab_specials { /* the tokens looked for in raw text; [1]: with control tokens */
    bool any;
    bool first[256]; /* bytes they begin with */
    int len_max;
};

struct vocab {
    enum vocab_family family;
    int count, symbols; /* I1 */
    struct buf blob;    /* all texts */
    struct vocab_span *text;
    uint64_t *hash;
    float *score;   /* [count] */
    uint16_t *attr; /* [count], of enum vocab_attr */
    int token_len_max;

    int32_t *slots; /* I2: symbol or -1 */
    size_t slots_mask;
    struct vocab_merge *merges;
    size_t merges_mask;

    const struct pretok_rule *rule; /* BPE */
    struct pretok *pretok;
    bool raw;                      /* BPE over plain UTF-8 */
    bool words_apart;              /* SPM, raw: no symbol goes on past a space, so words are joined on their own */
    int32_t byte_symbol[256];      /* BPE: the symbol of a byte's letter; raw, SPM: the token <0xXX> */
    int32_t byte_fallback[256][2]; /* BPE: what the letter's own bytes are called, when all else fails */

    int bos, eos, eot, eom, unk, sep, pad, mask;
    bool add_bos, add_eos, add_sep, add_space_prefix, lowercase, strip_accents;
    struct vocab_specials specials[2];
};

#define VOCAB_HASH_START 0xcbf29ce484222325u
uint64_t vocab_hash_more(uint64_t state, const char *text, size_t n);
/* The symbol (not only a token) whose text is these n bytes with this hash; -1 none. */
int32_t vocab_symbol(const struct vocab *v, const char *text, size_t n, uint64_t hash);
const struct vocab_merge *vocab_merge_find(const struct vocab *v, int32_t left, int32_t right);
/* GPT-2's alphabet: the letter that stands for a byte, and back (-1: no letter of it). */
uint32_t vocab_byte_letter(uint8_t byte);
int vocab_letter_byte(uint32_t cp);

/* vocab_load.c */
enum err_code vocab_load(struct vocab *v, const struct gguf_file *f, const char *pre, struct err *e);
/* special.c: ids and attributes beyond the file's token_type; call once tokens are in. */
enum err_code vocab_load_specials(struct vocab *v, const struct gguf_file *f, struct err *e);

/* A stretch of text: a token (id >= 0) or raw bytes to encode. */
struct vocab_part {
    size_t off, len;
    int32_t id;
};
/* The end of the word that begins at text[at]: where a run of U+2581 follows something else; n when words are not
 * apart. Joining word by word gives the ids that joining all at once would, in less time and memory. */
size_t vocab_word_end(const struct vocab *v, const char *text, size_t at, size_t n);

/* Cuts text at special tokens: longest token first, then leftmost. The caller mem_frees *parts. */
size_t vocab_split_special(const struct vocab *v, const char *text, size_t n, bool special,
                           struct vocab_part **parts);

/* The families: append the ids of raw text. scratch lives for one vocab_encode. */
struct vocab_scratch {
    struct merge_work work;
    struct pretok_cuts cuts;
    struct buf text, word;
    bool at_start; /* SPM: no text since the start or the last special token */
};
enum err_code bpe_encode(const struct vocab *v, const char *text, size_t n, struct vocab_scratch *s,
                         struct vocab_ids *out, struct err *e);
void spm_encode(const struct vocab *v, const char *text, size_t n, struct vocab_scratch *s, struct vocab_ids *out);
void wordpiece_encode(const struct vocab *v, const char *text, size_t n, struct vocab_scratch *s,
                      struct vocab_ids *out);
#endif
