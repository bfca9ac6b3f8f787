/* site -- the folder a site keeps its evidence in: keys that should move offline, and the public part anybody may copy.
 *
 *     <dir>/keys/<role>.key          signer keys; root-a, root-b, root-c, release, model, policy, revoke: move offline
 *     <dir>/keys/log.key, node.key   stay: read by the keeper at start
 *     <dir>/keys/model-p256.pem      for model signing bundles; auditor.key, pseudonym-<month>.key
 *     <dir>/public/                  the bundle of audit.h, with trust.policy (quorum.h) for clients
 */
#ifndef TRUST_SITE_H
#define TRUST_SITE_H
#include "trust/chain.h"
#include "trust/tlog.h"

enum { SITE_WITNESSES_MAX = 16 };

struct site {
    char *dir, *pub; /* <dir> and <dir>/public */
};

struct site_plan {
    const char *name;          /* "berlin.example": prefix of every key name, and the log's origin is <name>/log */
    int witness_count;
    const char *witnesses[SITE_WITNESSES_MAX]; /* vkeys; the quorum is a majority of them */
    int64_t now_s;
};

void site_open(struct site *s, const char *dir);
void site_close(struct site *s);
/* Makes keys, root note, log, trust policy. ERR_INVALID when there is a site already. */
enum err_code site_init(struct site *s, const struct site_plan *plan, struct err *e);

/* Whether somebody made it; the sentence says how. */
enum err_code site_there(const struct site *s, struct err *e);
enum err_code site_key(const struct site *s, const char *role, struct key_secret *out, struct err *e);
enum err_code site_chain(const struct site *s, struct chain *out, struct err *e);
enum err_code site_quorum(const struct site *s, struct quorum *out, struct err *e);
bool site_is_witnessed(const struct site *s);
/* Opens the log with log.key. key must outlive the log. */
enum err_code site_log(const struct site *s, struct key_secret *key, struct tlog **out, struct err *e);
/* Files a signed note under public/notes and logs its leaf. *index: the leaf. */
enum err_code site_file_note(const struct site *s, struct tlog *log, enum statement_type type, struct span note,
                             uint64_t *index, struct err *e);
/* Signs the text with the role's key, files and logs it. log NULL: a server writes the log, and takes it (inbox.h). */
enum err_code site_publish(const struct site *s, struct tlog *log, enum statement_type type, struct span text,
                           char hash_text[HASH_TEXT_MAX], struct err *e);
/* The month's pseudonym key, made when it is not there yet. */
enum err_code site_pseudonym(const struct site *s, const char *month, uint8_t key[32], struct err *e);
/* The key that keys for content at rest are derived from, made when it is not there yet. */
enum err_code site_storage(const struct site *s, uint8_t key[32], struct err *e);
/* The newest statement of a type (release, policy: highest seq): its hash text, or "-" when there is none. */
enum err_code site_latest(const struct site *s, enum statement_type type, char hash_text[HASH_TEXT_MAX],
                          uint64_t *seq, struct err *e);
#endif
