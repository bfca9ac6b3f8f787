/* served -- what a node runs, read from its site's folder: the policy, the release and the model notes that hold now.
 *
 * Nothing is believed for lying there: each is signed in its role, in its time, not revoked, and in the log. A policy
 * that was put into the folder without a leaf in the log is an error, not a policy. */
#ifndef TRUST_SERVED_H
#define TRUST_SERVED_H
#include "trust/policy.h"
#include "trust/site.h"

struct served_policy {
    char hash[HASH_TEXT_MAX]; /* of the note; "-": none was ever signed */
    struct policy *policy;    /* NULL then */
    struct buf text;          /* the file's bytes */
};

struct served_model {
    char hash[HASH_TEXT_MAX];        /* of the note; "-": no model note lists the file */
    char name[POLICY_NAME_MAX + 1];  /* as the policy calls it */
    uint8_t sha256[HASH_BYTES];      /* what the file must be */
};

/* The chain with every revocation in the folder taken in. */
enum err_code served_chain(const struct site *s, int64_t now_s, struct chain *out, struct err *e);
enum err_code served_policy(const struct site *s, struct tlog *log, struct chain *c, int64_t now_s,
                            struct served_policy *out, struct err *e);
void served_policy_release(struct served_policy *p);
/* The newest model note that lists a file of that name. */
enum err_code served_model(const struct site *s, struct tlog *log, struct chain *c, const char *file, int64_t now_s,
                           struct served_model *out, struct err *e);
/* The newest model note that lists weights of that hash, whatever their file is called. */
enum err_code served_weights(const struct site *s, struct tlog *log, struct chain *c, const uint8_t sha256[HASH_BYTES],
                             int64_t now_s, struct served_model *out, struct err *e);
/* The newest release note that lists a program of that hash; "-" when no release was ever signed. ERR_DENIED: none
 * lists it. *newer: there is a newer release, which does not: this program is an old one. */
enum err_code served_release(const struct site *s, struct tlog *log, struct chain *c, int64_t now_s,
                             const uint8_t program[HASH_BYTES], char hash[HASH_TEXT_MAX], bool *newer, struct err *e);
#endif
