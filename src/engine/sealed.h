/* sealed -- requests that only the engine can read: opened, checked and decided here, answered under the same seal.
 *
 *   engine_vault_open -> sealed, allowed or denied -> sealed_stream ... -> sealed_draft (to the front, for the receipt)
 *              -> sealed_finish with the signed note -> freed
 *
 * The vault (the engine's HPKE key, made at its start and never outside; the sets of what was seen; policy and enrolled
 * keys) is the link's reader thread's. A struct sealed passes with its message to the step thread. */
#ifndef ENGINE_SEALED_H
#define ENGINE_SEALED_H
#include "api/api.h"
#include "trust/code.h"

struct vault;
struct sealed;

/* trust: hello's object of that name. NULL out: no evidence, no sealed requests. */
enum err_code engine_vault_new(const json_t *trust, struct vault **out, struct err *e);
void engine_vault_free(struct vault *v);
void engine_vault_config(const struct vault *v, struct buf *base64); /* the public half, for hello and node note */
/* A trust frame of the front (wire/frame.h): a new key, the end of an old one, or what holds from now on. Appends the
 * answer, if there is one. What is malformed changes nothing. */
enum err_code engine_vault_told(struct vault *v, const json_t *said, struct buf *answer, struct err *e);

struct sealed_envelope {
    struct span body;         /* key id and suite, encapsulated key, ciphertext */
    bool chunked;             /* message/ohttp-chunked-req */
    const char *tenant;       /* whom the API key outside names; "" nobody */
    const char *id;           /* of exchange and receipt: the response's id too */
    int64_t now_s;
};
/* NULL: it could not be opened, *error is for the clear. Else sealed_refused tells whether it may run. Nothing has run
 * before the last chunk was opened. */
struct sealed *engine_vault_open(struct vault *v, const struct sealed_envelope *in, struct api_error *error);
void sealed_free(struct sealed *s);

bool sealed_refused(const struct sealed *s); /* by gate or policy; the response is made already */
const char *sealed_path(const struct sealed *s);
struct span sealed_body(const struct sealed *s);   /* until sealed_forget */
const char *sealed_tenant(const struct sealed *s);
const char *sealed_content_type(const struct sealed *s); /* of what travels outside */
void sealed_forget(struct sealed *s);                    /* the plain request is wiped: the job has what it needs */

/* The inner response, before any content: 200 unless the job could not be made. */
void sealed_head(struct sealed *s, int status, const char *type, bool stream);
/* Takes the content in; of a stream, appends what may leave now to out. plain is emptied. */
void sealed_content(struct sealed *s, struct buf *plain, struct buf *out);
/* {"allow","rule","class","tenant","policy","request","reqsig"}; with_response adds "response". Appended. */
void sealed_draft(const struct sealed *s, bool with_response, struct buf *json);
/* The receipt and the rest. */
void sealed_finish(struct sealed *s, struct span note, struct buf *out);
#endif
