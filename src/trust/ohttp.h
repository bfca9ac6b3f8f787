/* ohttp -- sealed requests and responses: RFC 9458, and in chunks (draft-ietf-ohai-chunked-ohttp-08).
 *
 * Sealed form:     header(key id, KEM, KDF, AEAD) enc, then
 *   whole          ciphertext
 *   in chunks      (varint length, ciphertext)*, 0, last ciphertext with AAD "final"
 * Response:        nonce of max(Nn, Nk) bytes, then the same two forms under a key derived from the request's secret.
 *
 * The engine opens, the proxy seals. A struct belongs to one request and one thread. */
#ifndef TRUST_OHTTP_H
#define TRUST_OHTTP_H
#include "trust/hpke.h"

enum {
    OHTTP_HEADER_BYTES = 7, OHTTP_REQUEST_HEAD = OHTTP_HEADER_BYTES + HPKE_KEY_BYTES, OHTTP_KEYS_MAX = 4,
    OHTTP_CHUNK_MAX = 1 << 20, OHTTP_NONCE_MAX = 32,
};

struct ohttp_key { /* the engine's; the previous one is kept for ten minutes */
    uint8_t id;
    bool any_suite; /* also AES-128-GCM: for the vectors of the RFCs, never in service */
    uint8_t secret[HPKE_KEY_BYTES], pub[HPKE_KEY_BYTES];
};

void ohttp_key_new(uint8_t id, struct ohttp_key *out);
/* RFC 9458 section 3: one configuration, ChaCha20-Poly1305 only; parse takes any list that offers it. */
void ohttp_config_write(const struct ohttp_key *k, struct buf *out);
enum err_code ohttp_config_parse(struct span config, uint8_t *id, uint8_t pub[HPKE_KEY_BYTES], struct err *e);

struct ohttp { /* one exchange, on either side */
    struct hpke hpke;
    uint8_t enc[HPKE_KEY_BYTES];
    uint8_t key_id;
    bool chunked;
};

/* ---- engine: opening. The head is the first OHTTP_REQUEST_HEAD bytes. */
enum err_code ohttp_receive(const struct ohttp_key *keys, int count, bool chunked, struct span head,
                            struct ohttp *out, struct err *e);
/* A whole request's ciphertext (after the head). Appends the plain text. */
enum err_code ohttp_open_request(struct ohttp *x, struct span sealed, struct buf *plain, struct err *e);

/* ---- client: sealing. head gets OHTTP_REQUEST_HEAD bytes. ephemeral NULL but in tests. */
enum err_code ohttp_send(uint8_t key_id, const uint8_t to[HPKE_KEY_BYTES], enum hpke_aead aead, bool chunked,
                         const uint8_t *ephemeral, struct ohttp *out, struct buf *head, struct err *e);
enum err_code ohttp_seal_request(struct ohttp *x, struct span plain, struct buf *sealed, struct err *e);
void ohttp_wipe(struct ohttp *x);

/* The salt of this exchange's commitments: only client and engine know it. role: "request" or "response". */
void ohttp_salt(const struct ohttp *x, const char *role, uint8_t out[32]);

/* ---- chunks, either direction. Writers append frames; the reader takes bytes as they come. */
struct ohttp_stream {
    enum hpke_aead aead;
    struct hpke *request;  /* request chunks go through the HPKE context */
    uint8_t key[32], nonce[HPKE_NONCE_BYTES];
    uint64_t counter;
    bool done;             /* the final chunk was written, or read and verified: before that, act on nothing */
    struct buf pending;    /* reader: bytes of a chunk not yet whole */
};

void ohttp_request_stream(struct ohttp *x, struct ohttp_stream *out);
/* Server: appends the response's nonce to head. nonce NULL but in tests. */
enum err_code ohttp_response_writer(const struct ohttp *x, const uint8_t *nonce, struct ohttp_stream *out,
                                    struct buf *head, struct err *e);
/* Client: nonce is the first bytes of the response, ohttp_nonce_bytes of them. */
enum err_code ohttp_response_reader(const struct ohttp *x, struct span nonce, struct ohttp_stream *out, struct err *e);
size_t ohttp_nonce_bytes(const struct ohttp *x);

enum err_code ohttp_write_chunk(struct ohttp_stream *s, struct span plain, bool final, struct buf *out, struct err *e);
/* Takes in bytes, appends the plain text of every chunk that is whole. Nothing may follow but chunks. */
enum err_code ohttp_read(struct ohttp_stream *s, struct span in, struct buf *plain, struct err *e);
/* No more bytes will come: the rest must be the final chunk. ERR_CORRUPT when the stream was cut. */
enum err_code ohttp_read_end(struct ohttp_stream *s, struct buf *plain, struct err *e);
void ohttp_stream_release(struct ohttp_stream *s);

/* Whole responses. */
enum err_code ohttp_seal_response(const struct ohttp *x, const uint8_t *nonce, struct span plain, struct buf *out,
                                  struct err *e);
enum err_code ohttp_open_response(const struct ohttp *x, struct span sealed, struct buf *plain, struct err *e);

/* QUIC variable-length integers (RFC 9000 16), shared with Binary HTTP. */
void varint_put(struct buf *out, uint64_t v);
bool varint_take(struct span *in, uint64_t *v);
#endif
