/* vocab -- bytes <-> token ids: the tokenizer of a model, read from its file.
 *
 * Immutable after vocab_new; any thread may use it. Text is bytes: valid UTF-8 is expected but anything is
 * survived. Time is bounded: O(n log n) in the text for every family. */
#ifndef TEXT_VOCAB_H
#define TEXT_VOCAB_H
#include "base/buf.h"
#include "base/err.h"
#include "gguf/gguf.h"

#include <stdbool.h>
#include <stdint.h>

enum vocab_family { VOCAB_BPE, VOCAB_SPM, VOCAB_WORDPIECE };

enum vocab_token_kind { /* tokenizer.ggml.token_type */
    VOCAB_NORMAL = 1, VOCAB_UNKNOWN = 2, VOCAB_CONTROL = 3, VOCAB_USER = 4, VOCAB_UNUSED = 5, VOCAB_BYTE = 6,
};

struct vocab;

/* pre: overrides the file's tokenizer.ggml.pre, or NULL. Reads all it needs; f may be closed afterwards. */
enum err_code vocab_new(const struct gguf_file *f, const char *pre, struct vocab **out, struct err *e);
/* Bytes that vocab_new would keep, from the counts in the file's header; 0 when it holds no vocabulary. */
size_t vocab_measure(const struct gguf_file *f);
void vocab_free(struct vocab *v);

int vocab_size(const struct vocab *v);
enum vocab_family vocab_family(const struct vocab *v);
int vocab_bos(const struct vocab *v); /* -1: none */
int vocab_eos(const struct vocab *v);
int vocab_eot(const struct vocab *v); /* end of a turn, where the file names one; -1 */
int vocab_sep(const struct vocab *v); /* WordPiece: [SEP]; -1: none */
int vocab_unk(const struct vocab *v);
int vocab_pad(const struct vocab *v);
bool vocab_add_sep(const struct vocab *v); /* WordPiece: a text is BOS ([CLS]), its ids, then SEP */
int vocab_token_len_max(const struct vocab *v); /* bytes: a text of n bytes has at least n / this tokens */
bool vocab_add_bos(const struct vocab *v); /* the file asks for BOS before a text */
bool vocab_add_eos(const struct vocab *v);
/* true for eos, eot, eom and whatever else ends a turn (<|im_end|>, <|eot_id|>, <end_of_turn>, ...) */
bool vocab_is_end(const struct vocab *v, int id);
enum vocab_token_kind vocab_kind(const struct vocab *v, int id);
int vocab_find(const struct vocab *v, const char *text, size_t n); /* exact token text as in the file; -1: none */
/* The bytes a token stands for when printed (no space stripping); control tokens give "" unless special.
 * An id outside the vocabulary gives "". */
void vocab_token_bytes(const struct vocab *v, int id, bool special, struct buf *out);
/* The token's text as the file writes it (borrowed). */
struct gguf_str vocab_token_text(const struct vocab *v, int id);

struct vocab_ids {
    int32_t *v; /* owned */
    size_t count, cap;
};
void vocab_ids_release(struct vocab_ids *ids);
void vocab_ids_push(struct vocab_ids *ids, int32_t id);

enum { VOCAB_TEXT_MAX = 64 << 20 }; /* bytes in one call; more is ERR_LIMIT */

/* Appends the ids of text, no BOS/EOS. special: the text of control and user-defined tokens inside the input
 * becomes those tokens; otherwise it is plain text, but user-defined tokens are found all the same, as the
 * reference engine does. Bytes that are not UTF-8: byte-level vocabularies cut them like a control character
 * and keep them (decoding gives them back); SPM emits their byte tokens; WordPiece drops them.
 * On failure out is as it was. */
enum err_code vocab_encode(const struct vocab *v, const char *text, size_t n, bool special,
                           struct vocab_ids *out, struct err *e);

/* The bytes of a finished run of ids, as they are (not repaired to UTF-8); the space an SPM or WordPiece
 * vocabulary puts before the first word is left out. */
void vocab_decode(const struct vocab *v, const int32_t *ids, size_t count, bool special, struct buf *out);

/* Streaming detokenisation: bytes come out only when they complete UTF-8 characters. */
struct vocab_stream {
    char held[8]; /* an unfinished character */
    int held_len;
    bool started; /* SPM and WordPiece treat the first word's space differently */
};
/* Appends what can be shown now; a byte that can be part of no character becomes U+FFFD.
 * special: show control tokens' text. */
void vocab_stream_push(struct vocab_stream *s, const struct vocab *v, int id, bool special, struct buf *out);
/* At the end: an unfinished character becomes U+FFFD. */
void vocab_stream_finish(struct vocab_stream *s, struct buf *out);
#endif
