/* note -- a text and the signatures under it (C2SP signed-note v1.0.0).
 *
 *     <text, ends with LF>
 *     <empty line>
 *     — <name> base64(key id || signature)      one or more
 *
 * A note points into the bytes it was parsed from, which must outlive it. */
#ifndef TRUST_NOTE_H
#define TRUST_NOTE_H
#include "trust/key.h"

enum { NOTE_SIGS_MAX = 64, NOTE_SIG_BYTES_MAX = 8 + KEY_SIG_BYTES, NOTE_TEXT_MAX = 1 << 20 };

struct note_sig {
    struct span name;
    struct span line;                 /* the whole line with its LF */
    uint32_t id;
    uint8_t sig[NOTE_SIG_BYTES_MAX];  /* after the key id; longer ones keep sig_len and are never ours */
    size_t sig_len;
};

struct note {
    struct span text; /* with its final LF */
    struct note_sig sigs[NOTE_SIGS_MAX];
    int sig_count;
};

/* Splits and checks the form: UTF-8, no control characters, signature lines well formed and not twice the
 * same key. No signature is verified here. */
enum err_code note_parse(struct span bytes, struct note *out, struct err *e);

/* The text is signed by k. A signature of that name and id that does not verify is ERR_DENIED; none at all too. */
enum err_code note_verify(const struct note *n, const struct key_public *k, struct err *e);
const struct note_sig *note_find(const struct note *n, const struct key_public *k); /* NULL: none */

/* Appends text, the empty line and the signature. note_add_sig adds one more line to a note already in out. */
enum err_code note_sign(struct span text, const struct key_secret *k, struct buf *out, struct err *e);
void note_add_sig(struct buf *out, const struct key_public *k, const uint8_t *sig, size_t n);
bool note_text_ok(struct span text); /* valid UTF-8, LF at the end, no other control character */
#endif
