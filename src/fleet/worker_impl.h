/* worker_impl -- what worker.c and work.c share. For them alone. */
#ifndef FLEET_WORKER_IMPL_H
#define FLEET_WORKER_IMPL_H
#include "fleet/post.h"
#include "fleet/worker.h"

enum {
    BODY_MAX = 32 << 20,
    PARTS_GATE_MAX = 64 << 20,    /* bytes of requests that are not whole yet, of one gateway */
    PARTS_MAX = 256 << 20,        /* of all */
    PARTS_STALE_MS = 10 * 1000,
    WORKS_MAX = 4096,
    GATES_MAX = 256,
    COALESCE_MS = 8,
    COALESCE_TOKENS = 16,
    KEPT_MAX = 4 << 20,           /* bytes of one answer that wait for the connection */
    AWAY_MAX_MS = 5000,           /* then others have taken over */
    FACTS_MS = 2000,
    BUCKETS = 1024,
};

struct gate {                     /* a gateway we have heard of */
    struct fleet_place place;
    char inbox[FLEET_SUBJECT_MAX];
    uint64_t boot;                /* 0: it has not said yet */
    int64_t heard_ms;
    int works;
    size_t parts_bytes;
};

enum work_state { WORK_PARTS, WORK_OPENING, WORK_OPEN, WORK_ENDED };

struct fleet_work {
    struct fleet_worker *w;
    struct gate *gate;
    uint64_t id, seq_in, seq_out;
    uint32_t attempt;
    enum work_state state;
    int64_t begun_ms, heard_ms;   /* heard_ms: the last frame of it came */
    /* PARTS */
    json_t *head;
    struct buf body;
    int64_t body_bytes;
    uint32_t body_crc, crc;
    uint64_t credit;              /* came before it was opened */
    /* OPEN */
    void *call;
    bool data_sent, failed;       /* failed: by us, so the host is to be told */
    /* what is to be sent: whole frames */
    struct buf out;
    int tokens;
    int64_t flushed_ms;           /* when a message of it left; 0: none has */
    bool kept;                    /* a publish was refused: everything waits */
    int64_t due_ms;               /* 0: nothing waits to be coalesced */
    struct fleet_work *due_next, *due_prev;
    struct fleet_work *next;      /* of its bucket */
    uint64_t round;               /* of the last walk over all that came by */
};

struct fleet_worker {
    struct loop *loop;
    struct bus *bus;
    struct fleet_place me;
    struct fleet_host host;
    void *arg;
    char req[FLEET_SUBJECT_MAX], hb[FLEET_SUBJECT_MAX];
    struct bus_sub *subs[3];      /* req, ctl, beats of gateways */
    struct any *anys;             /* the fallback subjects of the models there are */
    struct loop_timer *tick, *flush;
    struct post *post;
    uint64_t boot;
    bool draining, was_up;
    int64_t beat_ms, away_since_ms, back_ms; /* back_ms: the connection is there since */
    struct told_facts *told;      /* what the last beats said of each model */
    struct fleet_work *bucket[BUCKETS], *due_first, *due_last;
    int works;
    uint64_t round;
    size_t parts_bytes;
    struct gate *gates[GATES_MAX];
    int gate_count;
};

int64_t worker_now_ms(void);
/* Of who sends from that inbox; NULL: it is none, or too many are busy. */
struct gate *worker_gate(struct fleet_worker *w, const char *inbox);

/* work.c */
void work_take(struct fleet_worker *w, struct gate *g, const struct frame *f);
/* Closes works at the host without a word to their gateway: of one that is gone (since NULL: all works). */
void work_close_all(struct fleet_worker *w, const struct gate *of);
void work_refuse_all(struct fleet_worker *w, const char *code, const char *message);
void work_flush_kept(struct fleet_worker *w); /* what a publish was refused for */
void work_tick(struct fleet_worker *w, int64_t now_ms);
void work_flush_due(void *arg);   /* the flush timer's */
#endif
