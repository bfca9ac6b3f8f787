/* batch_write -- the thread that puts answers of batches on disk, so that the loop never waits for it. Jobs are written
 * and synced in their order; what is done comes back to the loop through an eventfd. */
#include "base/log.h"
#include "base/mem.h"
#include "base/queue.h"
#include "front/batches_impl.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { JOBS_MAX = 1024, RETRY_MS = 500, CLOSE_TRIES = 4 };

struct writer {
    struct queue *jobs;
    struct loop_watch *watch;
    pthread_t thread;
    pthread_mutex_t lock;        /* guards the next two */
    struct write_job *done, **done_end;
    bool closing;
    int event;
};

/* Writes all of it behind what is there, or nothing: a half is cut off again. */
static bool write_job(const struct write_job *j)
{
    off_t start = lseek(j->fd, 0, SEEK_END);
    struct err e;
    if (start >= 0 && !file_write_all_fd(j->fd, j->bytes.data, j->bytes.len, &e) && !fdatasync(j->fd))
        return true;
    log_line(LOG_ERROR, "front", "an answer of a batch cannot be kept: %s; trying again", strerror(errno));
    if (start < 0 || ftruncate(j->fd, start))
        log_line(LOG_ERROR, "front", "a batch's file cannot be cut: %s", strerror(errno));
    return false;
}

static bool is_closing(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    bool closing = w->closing;
    pthread_mutex_unlock(&w->lock);
    return closing;
}

static void *write_jobs(void *arg)
{
    struct writer *w = arg;
    for (struct write_job *j; (j = queue_pop(w->jobs, -1));) {
        int tries = 0;
        while (!write_job(j) && !(is_closing(w) && ++tries == CLOSE_TRIES))
            usleep(RETRY_MS * 1000);
        pthread_mutex_lock(&w->lock);
        *w->done_end = j;
        w->done_end = &j->next;
        pthread_mutex_unlock(&w->lock);
        uint64_t one = 1;
        ssize_t n = write(w->event, &one, sizeof one); /* full means it is readable already */
        (void)n;
    }
    return NULL;
}

static struct write_job *take_done(struct writer *w)
{
    uint64_t count;
    ssize_t n = read(w->event, &count, sizeof count);
    (void)n;
    pthread_mutex_lock(&w->lock);
    struct write_job *all = w->done;
    w->done = NULL;
    w->done_end = &w->done;
    pthread_mutex_unlock(&w->lock);
    return all;
}

static void tell(void *arg)
{
    for (struct write_job *j = take_done(arg), *next; j; j = next) {
        next = j->next;
        j->done(j->arg);
        buf_release(&j->bytes);
        mem_free(j);
    }
}

struct writer *batch_writer_new(struct loop *l)
{
    struct writer *w = MEM_NEW(struct writer);
    w->jobs = queue_new(JOBS_MAX);
    w->done_end = &w->done;
    w->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&w->lock, NULL);
    w->watch = loop_watch_new(l, w->event, tell, w);
    pthread_create(&w->thread, NULL, write_jobs, w);
    return w;
}

void batch_writer_free(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_mutex_unlock(&w->lock);
    queue_close(w->jobs);
    pthread_join(w->thread, NULL);
    tell(w);
    loop_watch_free(w->watch);
    close(w->event);
    pthread_mutex_destroy(&w->lock);
    queue_free(w->jobs);
    mem_free(w);
}

void batch_write(struct writer *w, struct write_job *j)
{
    queue_push(w->jobs, j); /* fewer can be open than it holds: never waits */
}
