/* models_impl -- what models.c and swap.c share. Nobody else includes this. */
#ifndef FRONT_MODELS_IMPL_H
#define FRONT_MODELS_IMPL_H
#include "front/models.h"

struct entry {
    struct link *link;
    char *id, *path;                      /* owned */
    const char *aliases[FRONT_ALIASES_MAX];
    int alias_count;
    bool expected, pinned;
    int64_t keep_alive_s;                 /* 0: until its memory is needed */
    json_t *options;                      /* owned; what the engine is told, kv_memory from the plan among it */
    bool plan_kv;                         /* kv_memory is not the operator's */
    int64_t need_bytes;                   /* 0: not measured yet */
    int64_t file_mtime_ns, file_bytes;    /* of the file that was measured */
    int64_t wanted_ns;                    /* 0: nobody wants it loaded; else since when */
    bool optional;                        /* wanted at the start only, if it fits beside the others */
    bool closing;                         /* takes no new calls, stops when its last one ends */
    int64_t used_ns, ready_ns;            /* last call closed; became ready */
    int64_t failed_until_ns;              /* its last load failed: refused with `fault` until then */
    char fault[ERR_TEXT_MAX];
    int64_t loads, unloads;
};

struct models {
    struct models_options o;
    const char *folder;                   /* NULL: none */
    int64_t limit, load_wait_ms;
    struct entry entries[FRONT_MODELS_MAX];
    int count;
    int64_t scanned_ns;
    struct model_wait *first, **last;     /* in the order they came */
    int waits;
    struct loop_timer *kick, *tick;
    bool ever_ready;
    int64_t waited, refused;
};

struct entry *models_add(struct models *m, const struct front_model *f);
int models_index(const struct models *m, const struct link *k);

/* swap.c */
void swap_changed(void *arg, struct link *k);
void swap_run(void *arg);                 /* the kick: everything that can move moves */
void swap_tick(void *arg);
#endif
