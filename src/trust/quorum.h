/* quorum -- whom to believe: the logs, the witnesses and how many of them (C2SP tlog-policy).
 *
 *     log <vkey> [<url>]
 *     witness <name> <vkey> [<url>]
 *     group <name> all|any|<k> <name>...
 *     quorum <name>|none
 */
#ifndef TRUST_QUORUM_H
#define TRUST_QUORUM_H
#include "trust/checkpoint.h"

enum { QUORUM_LOGS_MAX = 32, QUORUM_NAMES_MAX = 96, QUORUM_MEMBERS_MAX = 32, QUORUM_WORD_MAX = 128,
       QUORUM_TEXT_MAX = 1 << 18 };

struct quorum_node { /* a witness, or a group of what was named before it */
    char name[QUORUM_WORD_MAX];
    char url[QUORUM_WORD_MAX];
    bool is_group, is_member; /* is_member: already in a group; a name counts once */
    struct key_public key;    /* of a witness */
    int need, member_count;
    int members[QUORUM_MEMBERS_MAX];
};

struct quorum {
    int log_count, node_count;
    struct key_public logs[QUORUM_LOGS_MAX];
    char log_urls[QUORUM_LOGS_MAX][QUORUM_WORD_MAX];
    struct quorum_node nodes[QUORUM_NAMES_MAX];
    int root; /* index of the node the quorum line names; -1: none needed */
};

struct quorum_time {
    int64_t now_s;
    int64_t max_age_s;  /* 0: cosignatures of any age count */
    int64_t skew_s;     /* how far in the future a cosignature may lie */
};

enum err_code quorum_parse(struct span text, struct quorum *out, struct err *e);
/* A checkpoint signed by one of the logs and cosigned by the quorum. *log_index says which log. */
enum err_code quorum_check(const struct quorum *q, struct span checkpoint_note, const struct quorum_time *when,
                           struct note *n, struct checkpoint *out, int *log_index, struct err *e);
#endif
