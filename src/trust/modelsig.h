/* modelsig -- model identity: OpenSSF Model Signing v1.0 bundles with an ECDSA P-256 key, made and verified.
 *
 * A Sigstore bundle (v0.3) holds a DSSE envelope holding an in-toto statement whose predicate lists the files with
 * their SHA-256; the subject is the SHA-256 over those digests in order of name. Anybody's tool can check it. */
#ifndef TRUST_MODELSIG_H
#define TRUST_MODELSIG_H
#include "trust/code.h"

enum { MODELSIG_FILES_MAX = 4096, MODELSIG_NAME_MAX = 512, MODELSIG_BUNDLE_MAX = 16 << 20 };

struct modelsig_file {
    char name[MODELSIG_NAME_MAX + 1]; /* relative, with slashes; no "..", nothing absolute */
    uint8_t sha256[HASH_BYTES];
};

struct modelsig {
    char model[MODELSIG_NAME_MAX + 1];
    uint8_t root[HASH_BYTES];         /* the subject: what model notes and receipts name */
    int count;
    struct modelsig_file *files;      /* by name; modelsig_release */
};

enum err_code modelsig_keygen(struct buf *secret_pem, struct buf *public_pem, struct err *e);
/* Sorts files by name, fills root. */
enum err_code modelsig_root(struct modelsig *m, struct err *e);
enum err_code modelsig_make(struct modelsig *m, struct span secret_pem, struct buf *bundle, struct err *e);
enum err_code modelsig_verify(struct span bundle, struct span public_pem, struct modelsig *out, struct err *e);
void modelsig_release(struct modelsig *m);

/* Hashes through a descriptor from its beginning: the one that is mapped afterwards, so that no other file can slip
 * in between. The offset is left alone. */
enum err_code modelsig_hash_fd(int fd, uint8_t out[HASH_BYTES], struct err *e);
/* The file behind fd is the one the manifest lists under name. */
enum err_code modelsig_check_fd(const struct modelsig *m, const char *name, int fd, struct err *e);
#endif
