/* audit_impl -- what the parts of an audit share. Not for other floors. */
#ifndef TRUST_AUDIT_IMPL_H
#define TRUST_AUDIT_IMPL_H
#include "trust/audit.h"
#include "trust/chain.h"
#include "trust/policy.h"
#include "trust/receipt.h"
#include "trust/tiles.h"

enum { AUDIT_NODES_MAX = 65536, AUDIT_NOTES_MAX = 65536, AUDIT_MONTHS_MAX = 240, AUDIT_FILE_MAX = 4 << 20 };

struct leaf_slot { /* one hash the log names */
    uint8_t hash[HASH_BYTES];
    uint64_t index;
    uint32_t count;   /* 0: empty; 2 and more: logged twice */
    uint8_t type;
    bool shown;       /* a note or receipt of the bundle stands behind it */
};

struct audit_note { /* a statement of the bundle, verified */
    struct buf bytes;
    struct note note;
    struct statement s;
    uint8_t hash[HASH_BYTES];
    bool revoked;
    int64_t revoked_at;
    struct policy *policy;   /* of a policy statement */
    uint64_t receipts, last_seq; /* of a node's boot */
    uint8_t last[HASH_BYTES];
    bool has_file;           /* of a node: its receipts were found */
};

struct audit_month { /* the tags of a policy's tenants in one month */
    char month[8];
    uint8_t key[PSEUDONYM_KEY_BYTES];
};

struct audit {
    const struct audit_options *o;
    struct audit_result *r;
    struct quorum *quorum;
    struct chain *chain;
    struct tiles tiles;
    struct checkpoint head;
    size_t mask;
    struct leaf_slot *slots;
    uint8_t first_leaf[HASH_BYTES]; /* what the log's first leaf names */
    bool first_is_root;
    int note_count;
    struct audit_note **notes;
    int month_count;
    struct audit_month months[AUDIT_MONTHS_MAX];
};

void audit_fail(struct audit *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void audit_note(struct audit *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The log: leaves, root, tiles, checkpoint, checkpoints others saw. */
enum err_code audit_log(struct audit *a, struct err *e);
struct leaf_slot *audit_leaf(struct audit *a, const uint8_t hash[HASH_BYTES]); /* NULL: not logged */
/* Root and statements: signatures, roles, numbers, each in the log once. */
enum err_code audit_notes(struct audit *a, struct err *e);
const struct audit_note *audit_find(const struct audit *a, enum statement_type type, const uint8_t hash[HASH_BYTES]);
/* Receipts: signatures, chain, log, decisions; then boots against each other. */
enum err_code audit_receipts(struct audit *a, struct err *e);
/* Which tenant of the policy a receipt's tag stands for; false when the month's key is not at hand. */
bool audit_tenant(const struct audit *a, const struct policy *p, const struct receipt *r, const char **out);
const char *audit_model_name(const struct audit *a, const struct receipt *r, char out[256]); /* NULL: none is signed */
/* Who computed it, when it went through a fleet's gateway: where its policy lets it be, and by signed weights. */
void audit_computed(struct audit *a, const struct receipt *r);
/* Refusals of the gate, before the policy is asked, or of limits: not evaluated again, but they may only deny. */
bool audit_is_gate_rule(const char *rule);
/* The file names in a folder, sorted; free with audit_names_free. A missing folder has none. */
int audit_names(const char *dir, const char *suffix, char ***out);
void audit_names_free(char **names, int count);
#endif
