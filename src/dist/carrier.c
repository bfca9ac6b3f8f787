/* carrier -- see carrier.h. */
#include "dist/carrier.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "dist/port.h"
#include "dist/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STAGE_SOCKET_FD = 3, TAG_PARCEL = 1, TAG_ROWS = 2, HOST_MAX = 64, PROGRAM_BYTES_MAX = 1 << 30 };

struct carrier {
    int rank, ranks;
    int socket;                /* of the engine or the stage */
    int model_fd, stage_pid;   /* -1: none */
    int block_fd;
    struct dist_setup setup;
    struct dist_opening opening;
    void *block;
    char host[HOST_MAX];
};

/* What each rank says of itself when all are asked. */
struct roll {
    struct dist_report report;
    char host[HOST_MAX];
    uint8_t program[SHA256_BYTES];
};

static void fail(const struct carrier *c, const struct err *e) __attribute__((noreturn));
static void fail(const struct carrier *c, const struct err *e)
{
    log_line(LOG_ERROR, "dist", "rank %d on %s: %s", c->rank, c->host, e->text);
    MPI_Abort(MPI_COMM_WORLD, 1);
    _exit(1);
}

/* ---- waiting. A step may come at any moment, or none for hours: the longer nothing came, the longer the nap. */

static void pause_for(int64_t waited_ns)
{
    static const struct {
        int64_t waited_ns;
        long nap_ns;
    } naps[] = { { 1000000000, 1000000 }, { 20000000, 200000 }, { 1000000, 50000 }, { 20000, 20000 } };
    for (size_t i = 0; i < MEM_COUNT(naps); i++)
        if (waited_ns >= naps[i].waited_ns) {
            nanosleep(&(struct timespec){ .tv_nsec = naps[i].nap_ns }, NULL);
            return;
        }
}

static void finish(MPI_Request *r)
{
    int64_t since = clock_mono_ns();
    for (int done = 0; !done; pause_for(clock_mono_ns() - since)) {
        MPI_Test(r, &done, MPI_STATUS_IGNORE);
        if (done)
            return;
    }
}

static void give(const void *data, size_t n, int to, int tag)
{
    MPI_Request r;
    MPI_Isend(data, (int)n, MPI_BYTE, to, tag, MPI_COMM_WORLD, &r);
    finish(&r);
}

static void take(void *data, size_t n, int from, int tag)
{
    MPI_Request r;
    MPI_Irecv(data, (int)n, MPI_BYTE, from, tag, MPI_COMM_WORLD, &r);
    finish(&r);
}

static void broadcast(void *data, size_t n)
{
    MPI_Request r;
    MPI_Ibcast(data, (int)n, MPI_BYTE, 0, MPI_COMM_WORLD, &r);
    finish(&r);
}

/* ---- before MPI */

static enum err_code go_to_engine(struct carrier *c, const char *name, struct err *e)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    size_t n = name ? strlen(name) : 0;
    if (!n || n > sizeof to.sun_path - 1)
        return err_set(e, ERR_INVALID, "--socket is missing; `tokenworks serve --ranks` starts carriers");
    memcpy(to.sun_path + 1, name, n);
    c->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->socket < 0 ||
        connect(c->socket, (struct sockaddr *)&to, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)))
        return err_errno(e, "rank 0 does not find the engine: the server's own machine must be the hostfile's first");
    return ERR_OK;
}

static void become_stage(const char *const *argv, int socket, int parent) __attribute__((noreturn));
static void become_stage(const char *const *argv, int socket, int parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDONLY);
    if (getppid() != parent || null < 0 || dup2(null, STDIN_FILENO) < 0)
        _exit(1);
    if (socket == STAGE_SOCKET_FD)
        fcntl(socket, F_SETFD, 0);
    else if (dup2(socket, STAGE_SOCKET_FD) < 0)
        _exit(1);
    close_range(STAGE_SOCKET_FD + 1, ~0u, 0);
    char *const empty[] = { NULL };
    execve(argv[0], (char *const *)(uintptr_t)argv, empty);
    _exit(127);
}

/* Before MPI_Init, which makes threads and opens sockets: a stage inherits neither. */
static enum err_code start_stage(struct carrier *c, const struct carrier_options *o, struct err *e)
{
    int pair[2], parent = getpid();
    if (!o->model)
        return err_set(e, ERR_INVALID, "--model is missing; `tokenworks serve --ranks` starts carriers");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return err_errno(e, "cannot make a socket pair for the stage");
    c->stage_pid = fork();
    if (c->stage_pid == 0)
        become_stage(o->stage, pair[1], parent);
    close(pair[1]);
    c->socket = pair[0];
    return c->stage_pid < 0 ? err_errno(e, "cannot start the stage") : port_block_new(&c->block_fd, e);
}

/* ---- the start of all ranks */

/* The bits are the same only where the program is. */
static enum err_code hash_program(uint8_t out[SHA256_BYTES], struct err *e)
{
    struct buf b = { 0 };
    enum err_code c = file_read("/proc/self/exe", PROGRAM_BYTES_MAX, &b, e);
    if (!c)
        sha256_of(b.data, b.len, out);
    buf_release(&b);
    return c;
}

/* A stage gets the model, is opened, and reports: its failures are in the report. */
static void prepare_stage(struct carrier *c, const char *model, struct dist_report *report)
{
    struct err e = { 0 };
    int fd = open(model, O_RDONLY | O_CLOEXEC);
    enum err_code code = fd < 0 ? err_errno(&e, "%s: cannot open the model", model) : ERR_OK;
    c->setup.rank = c->rank;
    if (!code && !dist_setup_ok(&c->setup))
        code = err_set(&e, ERR_INVALID, "the program here is not the one of rank 0 (this is version " TW_VERSION ")");
    if (!code)
        code = port_send(c->socket, NOTE_SETUP, &c->setup, sizeof c->setup, fd, &e);
    if (fd >= 0)
        close(fd);
    broadcast(&c->opening, sizeof c->opening); /* while the stage loads */
    if (!code && !parcel_limits_ok(&c->opening.limits))
        code = err_set(&e, ERR_CORRUPT, "rank 0 asks for steps that cannot be");
    code = code ? code : port_block_size(c->block_fd, c->opening.limits.block_bytes, &e);
    code = code ? code : port_block_map(c->block_fd, c->opening.limits.block_bytes, &c->block, &e);
    if (!code)
        code = port_send(c->socket, NOTE_OPENING, &c->opening, sizeof c->opening, c->block_fd, &e);
    if (!code && port_receive(c->socket, NOTE_REPORT, report, sizeof *report, NULL, &e))
        code = err_set(&e, ERR_IO, "its stage process died while it loaded (is there memory enough?)");
    if (code) {
        report->failed = code;
        snprintf(report->text, sizeof report->text, "%.*s", DIST_TEXT_MAX - 1, e.text);
    }
}

/* Rank 0: the engine's opening, once it has loaded. The engine may be gone by then: false. */
static bool prepare_engine(struct carrier *c)
{
    struct err e = { 0 };
    int fd = -1;
    enum err_code code = port_receive(c->socket, NOTE_OPENING, &c->opening, sizeof c->opening, &fd, &e);
    if (!code && !parcel_limits_ok(&c->opening.limits))
        code = err_set(&e, ERR_CORRUPT, "the engine asks for steps that cannot be");
    code = code ? code : port_block_map(fd, c->opening.limits.block_bytes, &c->block, &e);
    if (fd >= 0)
        close(fd);
    if (code == ERR_NOT_FOUND)
        return false;
    if (code)
        fail(c, &e);
    broadcast(&c->opening, sizeof c->opening);
    return true;
}

/* Rank 0 judges: the first failure, or ready. */
static void judge(const struct carrier *c, const struct roll *all)
{
    struct dist_report out = { 0 };
    struct err e = { 0 };
    for (int i = 1; i < c->ranks && !out.failed; i++) {
        const struct roll *r = &all[i];
        if (memcmp(r->program, all[0].program, sizeof r->program) != 0) {
            out.failed = ERR_INVALID;
            snprintf(out.text, sizeof out.text, "rank %d on %.*s runs another build of this program", i, HOST_MAX - 1,
                     r->host);
        } else if (r->report.failed) {
            out.failed = r->report.failed;
            snprintf(out.text, sizeof out.text, "rank %d on %.*s: %.*s", i, HOST_MAX - 1, r->host, 160, r->report.text);
        } else {
            log_line(LOG_INFO, "dist", "rank %d on %.*s has layers %d to %d: %.1f MiB of weights, %.1f MiB of keys and "
                     "values", i, HOST_MAX - 1, r->host, c->setup.cut[i], c->setup.cut[i + 1] - 1,
                     (double)r->report.weight_bytes / (1 << 20), (double)r->report.kv_bytes / (1 << 20));
        }
    }
    if (port_send(c->socket, NOTE_REPORT, &out, sizeof out, -1, &e) && e.code != ERR_NOT_FOUND)
        fail(c, &e);
}

static void call_roll(struct carrier *c, const struct dist_report *report)
{
    struct roll own = { .report = *report };
    struct err e = { 0 };
    memcpy(own.host, c->host, sizeof own.host);
    if (hash_program(own.program, &e))
        fail(c, &e);
    struct roll *all = c->rank ? NULL : mem_new((size_t)c->ranks, sizeof *all);
    MPI_Request r;
    MPI_Igather(&own, sizeof own, MPI_BYTE, all, sizeof own, MPI_BYTE, 0, MPI_COMM_WORLD, &r);
    finish(&r);
    if (!c->rank)
        judge(c, all);
    mem_free(all);
}

/* ---- steps */

static void take_head(const struct carrier *c, struct parcel_head *h)
{
    struct err e = { 0 };
    memcpy(h, c->block, sizeof *h);
    if (parcel_head_ok(h, &c->opening.limits))
        return;
    err_set(&e, ERR_CORRUPT, "a step came that is none");
    fail(c, &e);
}

static unsigned char *rows_of(const struct carrier *c, const struct parcel_head *h)
{
    return (unsigned char *)c->block + parcel_x_offset(h);
}

static size_t wanted_bytes(const struct carrier *c, const struct parcel_head *h)
{
    return (size_t)h->wanted * (size_t)c->opening.limits.dim * sizeof(float);
}

/* Rank 0. A step of which no row is wanted is done when it is on its way: the next one may begin meanwhile, for
 * messages of one rank to another arrive in order. */
static void serve_engine(struct carrier *c)
{
    struct parcel_head h;
    struct err e = { 0 };
    while (!port_receive(c->socket, NOTE_STEP, NULL, 0, NULL, &e)) {
        take_head(c, &h);
        give(c->block, parcel_bytes(&h, &c->opening.limits), 1, TAG_PARCEL);
        if (h.wanted)
            take(rows_of(c, &h), wanted_bytes(c, &h), c->ranks - 1, TAG_ROWS);
        if (port_send(c->socket, NOTE_DONE, NULL, 0, -1, &e))
            break;
    }
    if (e.code != ERR_NOT_FOUND)
        fail(c, &e);
    h = (struct parcel_head){ .magic = PARCEL_MAGIC, .kind = PARCEL_END };
    give(&h, sizeof h, 1, TAG_PARCEL);
}

/* The length of the next parcel from the rank before. */
static int wait_for_parcel(const struct carrier *c, bool stage_counts)
{
    MPI_Status status;
    struct err e = { 0 };
    int64_t since = clock_mono_ns();
    int there = 0, n = 0;
    for (;;) {
        MPI_Iprobe(c->rank - 1, TAG_PARCEL, MPI_COMM_WORLD, &there, &status);
        if (there)
            break;
        if (stage_counts && port_stirs(c->socket)) {
            err_set(&e, ERR_IO, "its stage process is gone");
            fail(c, &e);
        }
        pause_for(clock_mono_ns() - since);
    }
    MPI_Get_count(&status, MPI_BYTE, &n);
    return n;
}

static void serve_stage(struct carrier *c)
{
    struct parcel_head h;
    struct err e = { 0 };
    bool last = c->rank == c->ranks - 1;
    for (;;) {
        int n = wait_for_parcel(c, true);
        if (n < (int)sizeof h || (uint64_t)n > c->opening.limits.block_bytes) {
            err_set(&e, ERR_CORRUPT, "a message of %d bytes came", n);
            fail(c, &e);
        }
        take(c->block, (size_t)n, c->rank - 1, TAG_PARCEL);
        take_head(c, &h);
        size_t bytes = parcel_bytes(&h, &c->opening.limits);
        if (h.kind == PARCEL_STEP && bytes == (size_t)n &&
            (port_send(c->socket, NOTE_STEP, NULL, 0, -1, &e) || port_receive(c->socket, NOTE_DONE, NULL, 0, NULL, &e)))
            err_set(&e, ERR_IO, "its stage process is gone");
        if (bytes != (size_t)n)
            err_set(&e, ERR_CORRUPT, "a step of %zu bytes came as %d", bytes, n);
        if (e.code)
            fail(c, &e);
        if (!last)
            give(c->block, bytes, c->rank + 1, TAG_PARCEL);
        else if (h.kind == PARCEL_STEP && h.wanted)
            give(rows_of(c, &h), wanted_bytes(c, &h), 0, TAG_ROWS);
        if (h.kind == PARCEL_END)
            return;
    }
}

/* A rank that could not start: rank 0 tells the engine, which leaves; then the end comes. */
static void pass_end(const struct carrier *c)
{
    struct parcel_head h;
    struct err e = { 0 };
    if (wait_for_parcel(c, false) != (int)sizeof h) {
        err_set(&e, ERR_CORRUPT, "a step came before all ranks were ready");
        fail(c, &e);
    }
    take(&h, sizeof h, c->rank - 1, TAG_PARCEL);
    if (c->rank < c->ranks - 1)
        give(&h, sizeof h, c->rank + 1, TAG_PARCEL);
}

/* ---- all of it */

static void run(struct carrier *c, const struct carrier_options *o)
{
    struct dist_report report = { 0 };
    struct err e = { 0 };
    if (!c->rank && port_receive(c->socket, NOTE_SETUP, &c->setup, sizeof c->setup, NULL, &e))
        fail(c, &e);
    broadcast(&c->setup, sizeof c->setup);
    if (c->setup.ranks != c->ranks) {
        err_set(&e, ERR_INVALID, "mpirun started %d ranks and the engine wants %d", c->ranks, c->setup.ranks);
        fail(c, &e);
    }
    if (c->rank) {
        prepare_stage(c, o->model, &report);
    } else if (!prepare_engine(c)) {
        err_set(&e, ERR_NOT_FOUND, "the engine is gone before it was ready");
        fail(c, &e);
    }
    call_roll(c, &report);
    if (!c->rank)
        serve_engine(c);
    else if (!report.failed)
        serve_stage(c);
    else
        pass_end(c);
}

enum err_code carrier_run(const struct carrier_options *o, struct err *e)
{
    struct carrier c = { .socket = -1, .model_fd = -1, .stage_pid = -1, .block_fd = -1 };
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    gethostname(c.host, sizeof c.host - 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* of mpirun, or of its daemon on another machine */
    prctl(PR_SET_TIMERSLACK, 1000UL);
    if (!rank)
        return err_set(e, ERR_INVALID, "carriers are started by mpirun; `tokenworks serve --ranks` does it");
    enum err_code code = strcmp(rank, "0") ? start_stage(&c, o, e) : go_to_engine(&c, o->socket, e);
    if (code)
        return code;
    if (MPI_Init(NULL, NULL) != MPI_SUCCESS)
        return err_set(e, ERR_IO, "MPI cannot start");
    MPI_Comm_rank(MPI_COMM_WORLD, &c.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &c.ranks);
    run(&c, o);
    close(c.socket); /* the stage ends */
    if (c.stage_pid > 0)
        waitpid(c.stage_pid, NULL, 0);
    port_block_unmap(c.block, c.opening.limits.block_bytes);
    MPI_Finalize();
    return ERR_OK;
}
