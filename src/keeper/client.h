/* client -- the front's side of the keeper's socket: one call, one answer. One thread at a time. */
#ifndef KEEPER_CLIENT_H
#define KEEPER_CLIENT_H
#include "trust/receipt.h"
#include "trust/sealbox.h"
#include "trust/tree.h"

struct keeper_client {
    int fd;
    char boot[RECEIPT_NAME_MAX + 1];
    struct key_public receipt, log, node;
    char memory[32];   /* "memfd_secret" or "mlock" */
    char sandbox[512]; /* sandbox_report's text; "none" */
};

/* Takes fd over and says hello. */
enum err_code keeper_client_open(int fd, struct keeper_client *out, struct err *e);
void keeper_client_close(struct keeper_client *c);

/* r's boot, seq and prev are filled by the keeper: read the note for them. Appends the note. */
enum err_code keeper_client_receipt(struct keeper_client *c, const struct receipt *r, struct buf *note, struct err *e);
enum err_code keeper_client_node(struct keeper_client *c, struct span text, struct buf *note, struct err *e);
enum err_code keeper_client_end(struct keeper_client *c, struct buf *note, struct err *e); /* the close note */
enum err_code keeper_client_tag(struct keeper_client *c, const char *month, const char *tenant,
                                uint8_t out[TENANT_TAG_BYTES], struct err *e);
/* The key for content at rest, by what it is for: the same at every start. */
enum err_code keeper_client_storage(struct keeper_client *c, const char *purpose, uint8_t out[SEALBOX_KEY],
                                    struct err *e);
/* A tlog_sign; ctx is the struct keeper_client. */
enum err_code keeper_client_sign(void *ctx, struct span text, const struct tree_proof *grown, struct buf *note,
                                 struct err *e);
#endif
