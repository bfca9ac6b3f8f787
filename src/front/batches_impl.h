/* batches_impl -- what batches.c (what is kept, the routes), files.c (uploads) and batch_run.c (the work) share. */
#ifndef FRONT_BATCHES_IMPL_H
#define FRONT_BATCHES_IMPL_H
#include "base/file.h"
#include "front/batches.h"
#include "front/envelope.h"
#include "front/front_impl.h"
#include "front/introduce.h"
#include "trust/chest.h"

enum {
    BATCH_THINGS_MAX = 10000,    /* files and batches together */
    BATCH_LINES_MAX = 50000,
    BATCH_ID_SIZE = 40,
    BATCH_RUNS_MAX = 4,          /* batches at work at once */
    BATCH_LINES_AT_ONCE = 8,     /* of each */
    BATCH_PRIORITY = -100,
    BATCH_ANSWER_MAX = 4 << 20,  /* bytes of one line's answer */
    BATCH_OUTPUT_MAX = 256 << 20,
    BATCH_KEEP_S = 30 * 86400,   /* files are removed so long after they were made */
};

/* A file or a batch: the object the API shows, with members of our own that begin with '_' and are not shown. */
struct thing {
    char id[BATCH_ID_SIZE];
    json_t *o;
    bool gone;                   /* deleted: its place is free */
};

struct run;    /* a batch at work */
struct writer;

struct batches {
    struct front *front;
    struct chest *chest;
    struct thing *things;        /* [count] */
    int count;
    struct run *runs[BATCH_RUNS_MAX];
    struct writer *writer;
    struct loop_timer *timer;
    bool draining;
    int busy;
    int64_t swept_s;
};

/* batches.c */
struct thing *batches_find(struct batches *b, const char *id);
struct thing *batches_add(struct batches *b, const char *prefix, json_t *o); /* takes o; NULL: too many */
enum err_code batches_save(struct batches *b, const struct thing *t, struct err *e);
bool batches_needed(const struct batches *b, const struct thing *file); /* by a batch that is under way */
void batches_delete(struct batches *b, struct thing *t);
void batches_file_name(const char *id, char out[CHEST_NAME_MAX + 1]); /* of its content */
const char *batches_text(const struct thing *t, const char *member);  /* "" when absent */
int64_t batches_number(const struct thing *t, const char *member);
void batches_set(struct thing *t, const char *member, int64_t v);
void batches_set_text(struct thing *t, const char *member, const char *v);
/* booked: its tenant is one of the ledger's, and it goes when that tenant is erased. */
struct thing *batches_make_file(struct batches *b, const char *purpose, const char *name, const char *tenant,
                                bool booked);
void batches_show(struct batches *b, struct http_exchange *x, const struct thing *t);
void batches_refuse(struct front *f, struct http_exchange *x, int status, const char *param, const char *message);
/* Whether the request's key is of the thing's tenant. */
bool batches_mine(const struct front *f, const struct http_exchange *x, const struct thing *t);
void batches_list(struct batches *b, struct http_exchange *x, const char *object);

/* batch_write.c */
struct write_job {
    int fd;
    struct buf bytes;            /* owned */
    void (*done)(void *arg);     /* on the loop, once they are on disk */
    void *arg;
    struct write_job *next;
};
struct writer *batch_writer_new(struct loop *l);
void batch_writer_free(struct writer *w); /* what is queued is written, and done() called */
void batch_write(struct writer *w, struct write_job *j); /* takes j */

/* batch_run.c */
bool batch_run_start(struct batches *b, struct thing *t); /* false: no place now */
void batch_run_pump(struct run *r);
void batch_run_free(struct run *r); /* calls that are open are cancelled */
struct thing *batch_run_thing(const struct run *r);
bool batch_run_over(const struct run *r);

/* batch_line.c: an input file's lines. */
struct batch_line {
    struct http_slice custom_id, url, body; /* body: the JSON object as it came */
};
/* Checks every line; ERR_INVALID with a sentence and *line (from 1). lines[0..*count) borrow from text. */
enum err_code batch_lines_read(const char *text, size_t n, const char *endpoint, struct batch_line **lines, int *count,
                               int *line, struct err *e);
#endif
