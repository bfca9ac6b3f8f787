/* lp -- see lp.h. Rows are kept as triplets and handed to CBC column by column in the child.
 *
 *   parent                       child
 *   lp_solve: fork ------------> Cbc_loadProblem, Cbc_solve
 *   read_log  <---- log pipe --- stdout: "Integer solution of ...", "... best possible ..."
 *   read_answer <-- answer pipe- struct answer, then the columns' values
 *   stop set: SIGINT ----------> CBC ends the search with its best; GRACE_NS later SIGKILL
 *
 * CBC's C interface has no way to stop a search, but its solvers catch SIGINT while they search, as their own program
 * does. In between nobody does, so the child ignores it there and the parent says it again. */
#include "plan/lp.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

#include <coin/Cbc_C_Interface.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define GRACE_NS ((int64_t)20 * 1000000000)
enum { LOG_LINE_MAX = 512, POLL_MS = 200, FOREVER_S = 50000000, AGAIN_NS = 1000000000 };

struct triplet {
    int row, col;
    double value;
};
struct lp {
    int cols, rows, entries, integers;
    int cols_cap, rows_cap, entries_cap;
    double *lower, *upper, *cost, *rhs;
    char *integer, *sense;
    struct triplet *entry;
};

struct answer {
    int status, secondary, optimal, infeasible, unbounded, nodes, has_x;
    double objective, bound;
};

struct lp *lp_new(void)
{
    return MEM_NEW(struct lp);
}

void lp_free(struct lp *p)
{
    if (!p)
        return;
    mem_free(p->lower);
    mem_free(p->upper);
    mem_free(p->cost);
    mem_free(p->rhs);
    mem_free(p->integer);
    mem_free(p->sense);
    mem_free(p->entry);
    mem_free(p);
}

int lp_col(struct lp *p, double lower, double upper, double cost, bool integer)
{
    if (p->cols == p->cols_cap) {
        p->cols_cap = p->cols_cap ? 2 * p->cols_cap : 64;
        size_t n = (size_t)p->cols_cap;
        p->lower = mem_grow(p->lower, n, sizeof *p->lower);
        p->upper = mem_grow(p->upper, n, sizeof *p->upper);
        p->cost = mem_grow(p->cost, n, sizeof *p->cost);
        p->integer = mem_grow(p->integer, n, 1);
    }
    p->lower[p->cols] = lower;
    p->upper[p->cols] = upper;
    p->cost[p->cols] = cost;
    p->integer[p->cols] = integer;
    p->integers += integer;
    return p->cols++;
}

int lp_row(struct lp *p, char sense, double rhs)
{
    if (p->rows == p->rows_cap) {
        p->rows_cap = p->rows_cap ? 2 * p->rows_cap : 64;
        p->rhs = mem_grow(p->rhs, (size_t)p->rows_cap, sizeof *p->rhs);
        p->sense = mem_grow(p->sense, (size_t)p->rows_cap, 1);
    }
    p->rhs[p->rows] = rhs;
    p->sense[p->rows] = sense;
    return p->rows++;
}

void lp_coef(struct lp *p, int row, int col, double value)
{
    ASSERT(row >= 0 && row < p->rows && col >= 0 && col < p->cols && isfinite(value));
    if (value == 0)
        return;
    if (p->entries == p->entries_cap) {
        p->entries_cap = p->entries_cap ? 2 * p->entries_cap : 256;
        p->entry = mem_grow(p->entry, (size_t)p->entries_cap, sizeof *p->entry);
    }
    p->entry[p->entries++] = (struct triplet){ row, col, value };
}

void lp_set_bounds(struct lp *p, int col, double lower, double upper)
{
    p->lower[col] = lower;
    p->upper[col] = upper;
}

void lp_get_bounds(const struct lp *p, int col, double *lower, double *upper)
{
    *lower = p->lower[col];
    *upper = p->upper[col];
}

bool lp_is_integer(const struct lp *p, int col)
{
    return p->integer[col];
}

int lp_cols(const struct lp *p)
{
    return p->cols;
}

int lp_rows(const struct lp *p)
{
    return p->rows;
}

int lp_integers(const struct lp *p)
{
    return p->integers;
}

double lp_gap(double objective, double bound)
{
    double size = fmax(fabs(objective), 1e-9);
    return fmax(0, (objective - bound) / size);
}

/* ---- the child */

/* Triplets to columns, rows of a column in order of entry, repeated ones summed. */
static void load_matrix(const struct lp *p, Cbc_Model *m)
{
    CoinBigIndex *start = mem_new((size_t)p->cols + 1, sizeof *start);
    int *index = mem_new((size_t)p->entries, sizeof *index), *last = mem_new((size_t)p->rows, sizeof *last);
    double *value = mem_new((size_t)p->entries, sizeof *value);
    int *next = mem_new((size_t)p->cols + 1, sizeof *next), *order = mem_new((size_t)p->entries, sizeof *order);
    for (int i = 0; i < p->entries; i++)
        next[p->entry[i].col + 1]++;
    for (int c = 0; c < p->cols; c++)
        next[c + 1] += next[c];
    for (int i = 0; i < p->entries; i++)
        order[next[p->entry[i].col]++] = i;
    int used = 0, at = 0;
    for (int c = 0; c < p->cols; c++) {
        start[c] = used;
        for (; at < p->entries && p->entry[order[at]].col == c; at++) {
            const struct triplet *t = &p->entry[order[at]];
            int seen = last[t->row] - 1; /* where this row's entry stands, +1 */
            if (seen >= start[c]) {
                value[seen] += t->value;
                continue;
            }
            index[used] = t->row;
            value[used++] = t->value;
            last[t->row] = used;
        }
    }
    start[p->cols] = used;
    double *lo = mem_new((size_t)p->rows, sizeof *lo), *hi = mem_new((size_t)p->rows, sizeof *hi);
    for (int r = 0; r < p->rows; r++) {
        lo[r] = p->sense[r] == 'L' ? -LP_INFINITY : p->rhs[r];
        hi[r] = p->sense[r] == 'G' ? LP_INFINITY : p->rhs[r];
    }
    Cbc_loadProblem(m, p->cols, p->rows, start, index, value, p->lower, p->upper, p->cost, lo, hi);
    /* the child exits soon: its memory goes with it */
}

static void set_number(Cbc_Model *m, const char *name, double v)
{
    char text[40];
    snprintf(text, sizeof text, "%.9g", v);
    Cbc_setParameter(m, name, text);
}

static void give_start(Cbc_Model *m, const struct lp *p, const double *x)
{
    int *index = mem_new((size_t)p->cols, sizeof *index), count = 0;
    double *value = mem_new((size_t)p->cols, sizeof *value);
    for (int c = 0; c < p->cols; c++)
        if (p->integer[c]) {
            index[count] = c;
            value[count++] = round(x[c]);
        }
    Cbc_setMIPStartI(m, count, index, value);
}

static void solve_in_child(const struct lp *p, const struct lp_options *o, int fd)
{
    Cbc_Model *m = Cbc_newModel();
    load_matrix(p, m);
    bool mip = p->integers && !o->continuous;
    for (int c = 0; c < p->cols && mip; c++)
        if (p->integer[c])
            Cbc_setInteger(m, c);
    Cbc_setObjSense(m, 1);
    Cbc_setLogLevel(m, 1);
    if (mip && o->start)
        give_start(m, p, o->start);
    Cbc_setParameter(m, "timeMode", "elapsed");
    set_number(m, "seconds", o->seconds > 0 ? o->seconds : FOREVER_S);
    if (mip && o->gap > 0)
        set_number(m, "ratioGap", o->gap);
    if (mip && o->threads > 1)
        set_number(m, "threads", o->threads);
    Cbc_solve(m);
    struct answer a = {
        .status = Cbc_status(m), .secondary = Cbc_secondaryStatus(m), .optimal = Cbc_isProvenOptimal(m),
        .infeasible = Cbc_isProvenInfeasible(m), .unbounded = Cbc_isContinuousUnbounded(m),
        .nodes = Cbc_getNodeCount(m), .objective = Cbc_getObjValue(m), .bound = Cbc_getBestPossibleObjValue(m),
    };
    const double *x = mip ? Cbc_bestSolution(m) : Cbc_getColSolution(m);
    a.has_x = x && fabs(a.objective) < 1e29 && (mip || a.optimal);
    if (!mip)
        a.bound = a.objective;
    fflush(stdout);
    if (!file_write_all_fd(fd, &a, sizeof a, NULL) && a.has_x)
        file_write_all_fd(fd, x, (size_t)p->cols * sizeof *x, NULL);
}

/* ---- the parent */

struct talk {
    struct buf line;             /* the log, up to its last newline */
    struct lp_progress progress;
    const struct lp_options *o;
    int64_t began_ns;
};

static void read_log_line(struct talk *t, const char *line)
{
    const char *p;
    double v, bound;
    bool changed = false;
    if ((p = strstr(line, "nteger solution of ")) && sscanf(p, "nteger solution of %lf", &v) == 1) {
        changed = v < t->progress.incumbent;
        t->progress.incumbent = fmin(t->progress.incumbent, v);
    } else if ((p = strstr(line, "on tree, ")) &&
               sscanf(p, "on tree, %lf best solution, best possible %lf", &v, &bound) == 2) {
        changed = true;
        t->progress.incumbent = fmin(t->progress.incumbent, v < 1e29 ? v : LP_INFINITY);
        t->progress.bound = fmax(t->progress.bound, bound);
    } else if ((p = strstr(line, "Continuous objective value is ")) && sscanf(p + 30, "%lf", &v) == 1) {
        changed = true;
        t->progress.bound = fmax(t->progress.bound, v);
    }
    if (changed && t->o->progress) {
        t->progress.seconds = (double)(clock_mono_ns() - t->began_ns) / 1e9;
        t->o->progress(t->o->arg, &t->progress);
    }
}

static void take_log(struct talk *t, const char *data, size_t n)
{
    buf_append(&t->line, data, n);
    char *newline;
    while (t->line.len && (newline = memchr(t->line.data, '\n', t->line.len))) {
        *newline = '\0';
        read_log_line(t, t->line.data);
        buf_drop_front(&t->line, (size_t)(newline - t->line.data) + 1);
    }
    if (t->line.len > LOG_LINE_MAX)
        buf_clear(&t->line);
}

/* Reads both pipes until both are closed. Returns false when the child had to be killed. */
static bool listen_to(struct talk *t, pid_t child, int log_fd, int answer_fd, struct buf *answer)
{
    struct pollfd fds[2] = { { log_fd, POLLIN, 0 }, { answer_fd, POLLIN, 0 } };
    int64_t asked_ns = 0, said_ns = 0, limit = t->o->seconds > 0 ? (int64_t)(t->o->seconds * 1e9) : 0;
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        int64_t now = clock_mono_ns();
        bool late = limit && now - t->began_ns > 2 * limit + GRACE_NS;
        if (((t->o->stop && *t->o->stop) || late) && now - said_ns > AGAIN_NS) {
            asked_ns = asked_ns ? asked_ns : now;
            said_ns = now;
            kill(child, SIGINT);
        }
        if (asked_ns && now - asked_ns > GRACE_NS) {
            kill(child, SIGKILL);
            return false;
        }
        if (poll(fds, 2, POLL_MS) < 0 && errno != EINTR)
            return false;
        for (int i = 0; i < 2; i++) {
            char chunk[4096];
            if (fds[i].fd < 0 || !(fds[i].revents & (POLLIN | POLLHUP)))
                continue;
            ssize_t n = read(fds[i].fd, chunk, sizeof chunk);
            if (n <= 0 && !(n < 0 && errno == EINTR))
                fds[i].fd = -1;
            else if (n > 0 && i == 0)
                take_log(t, chunk, (size_t)n);
            else if (n > 0)
                buf_append(answer, chunk, (size_t)n);
        }
    }
    return true;
}

static pid_t start_child(const struct lp *p, const struct lp_options *o, int log_fd, int answer_fd)
{
    fflush(NULL);
    pid_t parent = getpid(), child = fork();
    if (child)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    setpgid(0, 0); /* Ctrl-C reaches the parent, which decides */
    dup2(log_fd, STDOUT_FILENO);
    int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null_fd >= 0)
        dup2(null_fd, STDERR_FILENO);
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGINT, SIG_IGN); /* until CBC takes it */
    solve_in_child(p, o, answer_fd);
    _exit(0);
}

static double value_of(const struct lp *p, const double *x)
{
    double v = 0;
    for (int c = 0; c < p->cols; c++)
        v += p->cost[c] * x[c];
    return v;
}

static void use_start(const struct lp *p, const struct lp_options *o, struct lp_result *out)
{
    if (!o->start || o->continuous)
        return;
    mem_free(out->x);
    out->x = mem_dup(o->start, (size_t)p->cols * sizeof *out->x);
    out->objective = value_of(p, out->x);
    out->status = LP_FEASIBLE;
}

static void read_answer(const struct lp *p, const struct lp_options *o, const struct buf *answer,
                        const struct talk *t, struct lp_result *out)
{
    struct answer a = { 0 };
    size_t values = (size_t)p->cols * sizeof(double);
    out->bound = t->progress.bound;
    if (answer->len >= sizeof a) {
        memcpy(&a, answer->data, sizeof a);
        out->nodes = a.nodes;
        out->bound = fabs(a.bound) < 1e29 ? fmax(a.bound, t->progress.bound) : t->progress.bound;
        if (a.has_x && answer->len == sizeof a + values) {
            out->x = mem_dup(answer->data + sizeof a, values);
            out->objective = value_of(p, out->x);
            out->bound = fmin(out->bound, out->objective);
            bool within = lp_gap(out->objective, out->bound) <= o->gap + 1e-9;
            out->status = a.optimal || within ? LP_OPTIMAL : LP_FEASIBLE;
        } else {
            out->status = a.unbounded ? LP_UNBOUNDED : a.infeasible ? LP_INFEASIBLE : LP_NOTHING;
        }
    }
    if (out->status == LP_NOTHING || (out->x && o->start && !o->continuous && value_of(p, o->start) < out->objective))
        use_start(p, o, out);
}

enum err_code lp_solve(const struct lp *p, const struct lp_options *o, struct lp_result *out, struct err *e)
{
    int log_pipe[2], answer_pipe[2];
    *out = (struct lp_result){ .status = LP_NOTHING, .objective = LP_INFINITY, .bound = -LP_INFINITY };
    if (pipe2(log_pipe, O_CLOEXEC))
        return err_errno(e, "cannot make a pipe to the solver");
    if (pipe2(answer_pipe, O_CLOEXEC)) {
        close(log_pipe[0]);
        close(log_pipe[1]);
        return err_errno(e, "cannot make a pipe to the solver");
    }
    struct talk t = { .progress = { 0, LP_INFINITY, -LP_INFINITY }, .o = o, .began_ns = clock_mono_ns() };
    struct buf answer = { 0 };
    pid_t child = start_child(p, o, log_pipe[1], answer_pipe[1]);
    close(log_pipe[1]);
    close(answer_pipe[1]);
    enum err_code c = child < 0 ? err_errno(e, "cannot start the solver process") : ERR_OK;
    int status = 0;
    if (!c) {
        bool done = listen_to(&t, child, log_pipe[0], answer_pipe[0], &answer);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        out->seconds = (double)(clock_mono_ns() - t.began_ns) / 1e9;
        read_answer(p, o, &answer, &t, out);
        bool asked = o->stop && *o->stop; /* then dying of it is no fault */
        if (done && !asked && (!WIFEXITED(status) || WEXITSTATUS(status)) && !out->x)
            c = err_set(e, ERR_IO, "the solver process died (status %d); the model may be too large for memory",
                        status);
    }
    close(log_pipe[0]);
    close(answer_pipe[0]);
    buf_release(&answer);
    buf_release(&t.line);
    return c;
}

void lp_result_release(struct lp_result *r)
{
    mem_free(r->x);
    r->x = NULL;
}
