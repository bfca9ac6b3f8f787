/* setup -- what the ranks of a split model tell each other before the first step.
 *
 * Rank 0's computing process is the engine; each further rank has a stage process, sandboxed like it. Beside each of
 * them stands a carrier that speaks MPI and looks at no content:
 *
 *     engine -- setup, opening --> carrier 0 == MPI ==> carrier r -- setup (model), opening (block) --> stage r
 *     engine <-- ready or failed -- carrier 0 <== MPI == carrier r <-- ready or failed --------------- stage r */
#ifndef DIST_SETUP_H
#define DIST_SETUP_H
#include "base/sha256.h"
#include "dist/parcel.h"

enum { DIST_RANKS_MAX = 64, DIST_TEXT_MAX = 256 };

struct dist_setup {
    char version[32];
    uint8_t model[SHA256_BYTES];       /* dist_fingerprint of the file */
    int32_t rank, ranks;               /* rank: of the receiver; each carrier fills it in */
    int32_t cut[DIST_RANKS_MAX + 1];   /* rank i has layers [cut[i], cut[i + 1]) */
    int32_t kv_type, isa, ctx;         /* as model_load takes them */
    int32_t threads;                   /* 0: the processors each process may use */
    int32_t best_effort, sandbox_off;  /* --sandbox */
};

/* Once rank 0 has loaded its layers and knows how many pages there are. */
struct dist_opening {
    struct parcel_limits limits;
};

/* What became of a rank's start. */
struct dist_report {
    int32_t failed, unused;
    uint64_t weight_bytes, kv_bytes;
    char text[DIST_TEXT_MAX];          /* why it failed */
};

bool dist_setup_ok(const struct dist_setup *s);
/* Tells files apart without reading them whole: a hash of the length, the first MiB and 4 KiB in many places. */
enum err_code dist_fingerprint(int fd, uint8_t out[SHA256_BYTES], struct err *e);
#endif
