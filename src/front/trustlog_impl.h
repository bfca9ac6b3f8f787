/* trustlog_impl -- what trustlog.c and its thread share. Nobody else includes this. */
#ifndef FRONT_TRUSTLOG_IMPL_H
#define FRONT_TRUSTLOG_IMPL_H
#include "base/queue.h"
#include "base/sandbox.h"
#include "front/trustlog.h"
#include "keeper/client.h"
#include "trust/boot.h"
#include "trust/enrolled.h"
#include "trust/evidence.h"
#include "trust/inbox.h"
#include "trust/numerics.h"
#include "trust/offer.h"
#include "trust/served.h"

#include <pthread.h>
#include <time.h>

enum task_kind { TASK_RECEIPT, TASK_GET, TASK_PROOF, TASK_OFFER, TASK_NODE, TASK_COSIGNED, TASK_FAULT, TASK_TEND };

/* What holds: read by the loop, made by the thread, never changed. The one before is freed when the loop takes it. */
struct standing {
    struct served_policy policy;
    struct enrolled clients;
    char release[HASH_TEXT_MAX], jurisdiction[3];
    char stopped[ERR_TEXT_MAX];          /* why no request is taken; "" */
    int slot_count;
    struct standing_model {
        bool known;
        struct trustlog_model model;
        char stopped[ERR_TEXT_MAX];
    } slots[TRUSTLOG_MODELS_MAX];
};

struct offered { /* the four notes of an offer */
    char hash[OFFER_PARTS][HASH_TEXT_MAX];
    uint64_t epoch;
};

struct slot { /* an engine as its node note describes it; the thread's */
    bool used, renewed, has_weights, has_numerics;
    uint64_t epoch;
    char file[256], sandbox[SANDBOX_TEXT_MAX];
    struct trustlog_model model;
    uint8_t weights[HASH_BYTES], numerics[HASH_BYTES];
    uint8_t config[TRUSTLOG_CONFIG_MAX];
    size_t config_len;
    int64_t noted_s;          /* when its node note was made */
    struct offered now, next; /* what clients are shown; what they will be once the log's published head has it */
    bool waits;               /* next is not shown yet */
    uint64_t leaf;            /* of its node note */
};

/* What a look at the site's folder brought, for the loop. */
struct tidings {
    struct standing *standing; /* NULL: as before */
    struct { int slot; uint64_t epoch; } offered[TRUSTLOG_MODELS_MAX];
    int offered_count;
    char (*taken)[INBOX_NAME_MAX + 1];
    int taken_count;
};

struct task {
    struct task *next;        /* in the list of those done */
    enum task_kind kind;
    trustlog_done done;
    void *arg;
    struct receipt receipt;
    char name[SANDBOX_TEXT_MAX]; /* tenant, id, or sandbox text */
    int slot;
    uint64_t since;
    struct slot *engine;      /* of TASK_NODE; owned */
    struct tidings *tidings;  /* of TASK_TEND; owned */
    struct buf out;           /* the answer; of TASK_COSIGNED the note */
    enum err_code code, malformed;
    struct err error;
};

struct tag { /* a tenant's pseudonym of one month */
    char month[8], tenant[RECEIPT_NAME_MAX + 1];
    uint8_t tag[TENANT_TAG_BYTES];
};
enum { TAGS_MAX = 256 };

struct trustlog {
    struct loop *loop;
    struct trustlog_options o;         /* its texts are not kept */
    struct site site;
    struct chain *chain;
    struct standing *standing;         /* the loop's: what it decides by */
    uint8_t build[HASH_BYTES];
    char boot[33], previous[RECEIPT_NAME_MAX + 1];
    uint64_t previous_receipts;
    char place[RECEIPT_NAME_MAX + 1], where[3]; /* where: as the operator says; "" */
    uint64_t epoch;                    /* the loop's */
    struct loop_timer *timer;          /* the loop's: the next look at the folder */
    bool ending;                       /* the loop's: nobody is told any more */
    int keeper_pid;
    /* The thread's, from its start to its end: */
    struct keeper_client keeper;
    struct tlog *log;
    struct evidence *evidence;
    const struct standing *held;       /* the newest, the loop's or on its way there */
    struct slot bare;                  /* the boot itself: epoch 0, no engine */
    struct slot slots[TRUSTLOG_MODELS_MAX];
    int64_t looked_s;                  /* at what may have expired */
    struct timespec clients_changed;   /* of the file */
    struct tag tags[TAGS_MAX];
    int tag_count;
    bool broken;                       /* I2 */
    struct err fault;
    pthread_t thread;
    bool running;
    struct cosigner *cosigner;         /* NULL: no witness */
    struct queue *in;
    pthread_mutex_t owner;             /* held by the thread while it works; the loop takes it to find a model */
    pthread_mutex_t lock;              /* guards the list of tasks done */
    struct task *first_done, *last_done;
};

void trustlog_rolled_back(struct trustlog *t, const struct err *why); /* any thread: somebody saw more than we have */
enum err_code trustlog_thread_start(struct trustlog *t, struct err *e);
void trustlog_thread_stop(struct trustlog *t); /* works off what waits, files the close note, tells who waits */
void trustlog_push(struct trustlog *t, struct task *k);
/* Signs, files and logs a node note about s; it waits to be shown. */
enum err_code trustlog_log_node(struct trustlog *t, struct slot *s, struct err *e);

/* trustlog_tend.c. The first standing of a start; what is wrong ends the start. */
enum err_code trustlog_stand(struct trustlog *t, int64_t now_s, struct standing **out, struct err *e);
void standing_free(struct standing *s);
void trustlog_tend(struct trustlog *t, struct task *k);  /* on the thread */
void trustlog_tended(struct trustlog *t, struct task *k); /* on the loop */
void trustlog_tend_later(struct trustlog *t);             /* on the loop */
bool trustlog_shown(struct trustlog *t, struct slot *s);  /* s->next is in the published checkpoint: it is s->now */
/* weights NULL: by the file's name. */
enum err_code trustlog_find_model(struct trustlog *t, const char *file, const uint8_t *weights,
                                  struct served_model *out, struct err *e);
#endif
