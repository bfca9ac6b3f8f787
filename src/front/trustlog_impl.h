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
#include "trust/numerics.h"
#include "trust/offer.h"
#include "trust/served.h"

#include <pthread.h>

enum task_kind { TASK_RECEIPT, TASK_GET, TASK_PROOF, TASK_OFFER, TASK_NODE, TASK_COSIGNED, TASK_FAULT };

struct task {
    struct task *next;        /* in the list of those done */
    enum task_kind kind;
    trustlog_done done;
    void *arg;
    struct receipt receipt;
    char name[SANDBOX_TEXT_MAX]; /* tenant, id, or sandbox text */
    int slot;
    uint64_t since, epoch;
    struct trustlog_model model;
    struct buf out;           /* the answer; of TASK_NODE the key configuration, of TASK_COSIGNED the note */
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
    void (*failed)(void *arg, const char *why);
    void *arg;
    bool best_effort, air_gapped;
    struct site site;
    struct chain *chain;
    struct served_policy policy;       /* fixed once open: read by both threads */
    struct enrolled clients;
    char release[HASH_TEXT_MAX];
    uint8_t build[HASH_BYTES];
    char boot[33], previous[RECEIPT_NAME_MAX + 1];
    uint64_t previous_receipts;
    char place[RECEIPT_NAME_MAX + 1], jurisdiction[3];
    uint64_t epoch;                    /* the loop's */
    int keeper_pid;
    /* The thread's, from its start to its end: */
    struct keeper_client keeper;
    struct tlog *log;
    struct evidence *evidence;
    char first_node[HASH_TEXT_MAX];
    char nodes[TRUSTLOG_MODELS_MAX][HASH_TEXT_MAX], models[TRUSTLOG_MODELS_MAX][HASH_TEXT_MAX];
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
enum err_code trustlog_log_node(struct trustlog *t, const struct trustlog_engine *g, char hash[HASH_TEXT_MAX],
                                struct err *e);
enum err_code trustlog_find_model(struct trustlog *t, const char *file, struct served_model *out, struct err *e);
#endif
