/* bhttp -- Binary HTTP (RFC 9292): what lies inside a sealed envelope. Requests whole, responses whole or streamed.
 *
 * Names must be lower-case tokens, values free of CR, LF and NUL; limits are named. A message points into the bytes
 * it was parsed from. */
#ifndef TRUST_BHTTP_H
#define TRUST_BHTTP_H
#include "trust/code.h"

enum { BHTTP_FIELDS_MAX = 64, BHTTP_NAME_MAX = 128, BHTTP_VALUE_MAX = 16384, BHTTP_HEAD_MAX = 65536 };

struct bhttp_field {
    struct span name, value;
};

struct bhttp_message {
    bool is_request;
    struct span method, scheme, authority, path; /* of a request */
    int status;                                  /* of a response */
    int field_count;
    struct bhttp_field fields[BHTTP_FIELDS_MAX];
    struct span content;                         /* known length: in place */
    struct buf joined;                           /* indeterminate length: the chunks together; content is in here */
};

/* Both framings. Trailers are refused: nothing of ours reads them. Release frees `joined`. */
enum err_code bhttp_parse(struct span bytes, struct bhttp_message *out, struct err *e);
void bhttp_release(struct bhttp_message *m);
/* The value of the only field of that name; false when absent. Two of them: *twice. */
bool bhttp_field_get(const struct bhttp_message *m, const char *name, struct span *value, bool *twice);

/* Known length. */
void bhttp_write_request(const struct bhttp_message *m, struct buf *out);
void bhttp_write_response(const struct bhttp_message *m, struct buf *out);

/* Streamed response: head once, then content as it comes, then the end. */
void bhttp_stream_head(int status, const struct bhttp_field *fields, int count, struct buf *out);
void bhttp_stream_content(struct span data, struct buf *out);
void bhttp_stream_end(struct buf *out);

/* Reading a response as it arrives. */
struct bhttp_reader {
    enum { BHTTP_HEAD, BHTTP_CONTENT, BHTTP_KNOWN, BHTTP_DONE } state;
    struct buf pending;
    uint64_t left;              /* BHTTP_KNOWN: bytes of content to come */
    struct buf head;            /* owns what `message` points to */
    struct bhttp_message message; /* status and fields, valid once state has left BHTTP_HEAD */
};
/* Appends to content what content there is. ERR_CORRUPT when malformed. state tells how far it is. */
enum err_code bhttp_read(struct bhttp_reader *r, struct span in, struct buf *content, struct err *e);
void bhttp_reader_release(struct bhttp_reader *r);
#endif
