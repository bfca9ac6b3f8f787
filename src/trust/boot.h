/* boot -- one run of a node: the key that signs its receipts in a chain, and the statement that introduces it. */
#ifndef TRUST_BOOT_H
#define TRUST_BOOT_H
#include "trust/receipt.h"

/* Lives in the keeper. Numbers receipts from 0 and chains each to the one before. */
struct boot_signer {
    struct key_secret key;
    char boot[RECEIPT_NAME_MAX + 1];
    uint64_t next;
    uint8_t prev[HASH_BYTES];
};

void boot_id(char out[33]); /* 32 hex digits of chance */
enum err_code boot_signer_init(struct boot_signer *s, const char *site, const char *boot, struct err *e);
/* Fills r's boot, seq and prev, appends the signed note. A receipt that cannot be written takes no number. */
enum err_code boot_sign(struct boot_signer *s, struct receipt *r, struct buf *note, struct err *e);
/* The close statement's text after the last receipt. */
enum err_code boot_close_text(const struct boot_signer *s, int64_t now_s, struct buf *out, struct err *e);
void boot_signer_wipe(struct boot_signer *s);

struct boot_node { /* what the node statement says; texts as they stand in it, NULL or "" for "-" */
    const char *name, *boot, *previous_boot, *site, *jurisdiction, *release, *policy, *models;
    uint64_t epoch, previous_receipts; /* how many the boot before made */
    const uint8_t *numerics;           /* HASH_BYTES; NULL: no engine */
    struct span ohttp_config;          /* empty: no sealed requests */
    const char *receipt_key, *sandbox; /* vkey; sandbox_report's text, hashed here */
    int64_t not_before, not_after;
};
enum err_code boot_node_text(const struct boot_node *n, struct buf *out, struct err *e);
#endif
