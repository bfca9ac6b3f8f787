/* tree -- the Merkle tree of RFC 6962 and RFC 9162: hashes, roots, proofs and their verification.
 *
 * Nothing is stored here. A subtree that is full is named (level, index): it covers the leaves
 * [index << level, (index + 1) << level); whoever stores the tree hands its hash out through tree_read. */
#ifndef TRUST_TREE_H
#define TRUST_TREE_H
#include "trust/code.h"

enum { TREE_LEVELS_MAX = 63, TREE_PROOF_MAX = 2 * TREE_LEVELS_MAX };

struct tree_proof {
    int count;
    uint8_t hash[TREE_PROOF_MAX][HASH_BYTES];
};

typedef enum err_code (*tree_read)(void *ctx, unsigned level, uint64_t index, uint8_t out[HASH_BYTES], struct err *e);

void tree_leaf_hash(uint8_t out[HASH_BYTES], const void *leaf, size_t n);   /* SHA-256(0x00 || leaf) */
void tree_node_hash(uint8_t out[HASH_BYTES], const uint8_t left[HASH_BYTES], const uint8_t right[HASH_BYTES]);

/* The right edge: enough of a tree to append to it and to know its root. */
struct tree_edge {
    uint64_t size;
    uint8_t full[TREE_LEVELS_MAX + 1][HASH_BYTES]; /* full[l] counts when bit l of size is set */
};
void tree_edge_add(struct tree_edge *t, const uint8_t leaf_hash[HASH_BYTES]);
void tree_edge_root(const struct tree_edge *t, uint8_t out[HASH_BYTES]); /* of size 0: SHA-256 of nothing */

enum err_code tree_root(uint64_t size, tree_read read, void *ctx, uint8_t out[HASH_BYTES], struct err *e);
enum err_code tree_prove_leaf(uint64_t index, uint64_t size, tree_read read, void *ctx, struct tree_proof *out,
                              struct err *e);
enum err_code tree_prove_grown(uint64_t old_size, uint64_t size, tree_read read, void *ctx, struct tree_proof *out,
                               struct err *e);

/* RFC 9162 2.1.3.2 and 2.1.4.2. ERR_DENIED when the proof does not hold. */
enum err_code tree_check_leaf(const uint8_t leaf_hash[HASH_BYTES], uint64_t index, uint64_t size,
                              const struct tree_proof *p, const uint8_t root[HASH_BYTES], struct err *e);
enum err_code tree_check_grown(uint64_t old_size, const uint8_t old_root[HASH_BYTES], uint64_t size,
                               const uint8_t root[HASH_BYTES], const struct tree_proof *p, struct err *e);
#endif
