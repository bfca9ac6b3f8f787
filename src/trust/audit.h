/* audit -- everything a site says about itself, checked on a laptop without asking it anything.
 *
 * The bundle is the site's public folder, or a copy:
 *
 *     root.note, root-<seq>.note      the keys; later ones in order
 *     notes/<type>/<hash>.note        release, model, policy, node, revoke, close
 *     policies/<hash>.policy          the policy files the policy notes name
 *     receipts/<boot>.notes           see evidence.h
 *     log/                            the tiles, with `checkpoint`
 *     checkpoints/                    checkpoints others saw, to be compared
 *
 * and the auditor's own trust policy (quorum.h) says which log and which witnesses to believe. */
#ifndef TRUST_AUDIT_H
#define TRUST_AUDIT_H
#include "trust/quorum.h"

struct audit_options {
    const char *bundle;
    struct span trust_policy;   /* the text of the auditor's file */
    const char *root_hash;      /* "sha256:..." of root.note, known by hand; NULL: taken from the log's first leaf */
    const char *pseudonyms;     /* a folder with pseudonym-<month>.key files; NULL: decisions are not evaluated again */
    const char *models;         /* a folder with model files; NULL: weights are not hashed */
    int threads;
    int64_t now_s;              /* for fresh cosignatures and expiry of the root; 0: not checked */
    int64_t max_age_s;
};

enum { AUDIT_FINDINGS_MAX = 200 };

struct audit_result {
    uint64_t leaves, checkpoints, notes, receipts, denials, decided_again, files_hashed;
    uint64_t parts;             /* workers of a fleet that receipts name */
    uint64_t findings;          /* 0: nothing is wrong */
    uint64_t unchecked;         /* things that could not be checked for lack of a key or file; said in `text` too */
    struct buf text;            /* a line each: "FAIL ..." or "NOTE ..."; the first AUDIT_FINDINGS_MAX of them */
};

/* ERR_OK when the audit ran, whatever it found. */
enum err_code audit_run(const struct audit_options *o, struct audit_result *out, struct err *e);
#endif
