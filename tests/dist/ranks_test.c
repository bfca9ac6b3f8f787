/* ranks_test -- a model over two and three ranks under mpirun gives the bits of one process: golden models of several
 * architectures, whole prompts, chunks, batched decode. This program is the engine's side; carriers and stages are the
 * real ones of build/tokenworks, sandbox and all. */
#include "../test.h"
#include "../shared.h"
#include "../tiny_model.h"
#include "../model/drive.h"
#include "base/file.h"
#include "dist/leader.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef TW_SANITIZED
#define TW_SANITIZED 0
#endif

enum { POSITIONS = 40, VOCAB_MAX = 512, ROWS_MAX = 256, RUNS_MAX = 8, CTX = 96, ARGS_MAX = 32 };

static const struct golden {
    const char *name;
    int ranks;
} golden[] = {
    { "llama-256-Q4_K", 2 }, { "gemma3", 3 }, { "qwen3moe", 2 }, { "gpt-oss", 2 },
};
static const struct golden *current;

/* ---- an engine without the rest of it */

struct group {
    int pid, listener, life;
    char name[64];
    struct leader *leader;
    struct model_rest rest;
    struct gguf_file *f;
    struct model *model;
    int ranks;
    bool opened;
    struct err open_error;
};

static void lost(void *arg, const char *why) __attribute__((noreturn));
static void lost(void *arg, const char *why)
{
    (void)arg;
    printf("not ok - a rank was lost: %s\n", why);
    _exit(1);
}

static void listen_for_carrier(struct group *g)
{
    static int serial;
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    snprintf(g->name, sizeof g->name, "tokenworks-test-%d-%d", (int)getpid(), ++serial);
    memcpy(a.sun_path + 1, g->name, strlen(g->name));
    g->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(g->name));
    CHECK(!bind(g->listener, (struct sockaddr *)&a, n) && !listen(g->listener, 1));
}

static void start_mpirun(struct group *g, const char *model)
{
    char program[512], ranks[16];
    const char *b = getenv("B");
    int life[2], n = 0;
    snprintf(program, sizeof program, "%s/tokenworks", b && *b ? b : "build");
    snprintf(ranks, sizeof ranks, "%d", g->ranks);
    const char *argv[ARGS_MAX];
    argv[n++] = "mpirun";
    if (!geteuid())
        argv[n++] = "--allow-run-as-root";
    static const char *const fixed[] = { "--oversubscribe", "--bind-to", "none", "--mca", "btl", "self,vader,tcp", "--mca",
                                         "btl_vader_single_copy_mechanism", "none", "-n" };
    for (size_t i = 0; i < MEM_COUNT(fixed); i++)
        argv[n++] = fixed[i];
    const char *const own[] = { ranks, program, "carrier", "--socket", g->name, "--model", model, NULL };
    memcpy(argv + n, own, sizeof own);
    CHECK(!pipe2(life, O_CLOEXEC));
    g->pid = fork();
    if (!g->pid) {
        fcntl(life[1], F_SETFD, 0);
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(life[1]);
    g->life = life[0];
}

static void prepare(void *arg, struct model_work *w, const unsigned char *block, int pages)
{
    struct group *g = arg;
    struct parcel_limits limits = { .rows_max = ROWS_MAX, .runs_max = RUNS_MAX, .ctx = CTX, .page_count = pages,
                                    .dim = model_facts(g->model)->dim };
    struct leader_pages p = { block, model_kv_page_bytes(g->model), pages };
    enum err_code c = leader_open(g->leader, &limits, &p, &g->open_error);
    if (c)
        printf("# %s\n", g->open_error.text);
    g->opened = !c;
    if (c)
        lost(NULL, "it did not open");
    g->rest = leader_rest(g->leader);
    model_work_set_rest(w, &g->rest);
}

/* The file, the ranks behind it, and rank 0's own part loaded. */
static bool begin(struct group *g, const char *path, int ranks, struct pool *pool, const struct kern_table *kern,
                  struct dist_setup *setup, struct err *e)
{
    *g = (struct group){ .ranks = ranks };
    *setup = (struct dist_setup){ .version = TW_VERSION, .ranks = ranks, .kv_type = KERN_F16, .isa = KERN_ISA_COUNT,
                                  .threads = 2, .best_effort = 1 };
    struct model_load_options o = { .kern = kern, .kv_type = KERN_F16 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum err_code c = dist_fingerprint(fd, setup->model, e);
    close(fd);
    c = c ? c : gguf_open(path, &g->f, e);
    c = c ? c : model_cut(g->f, ranks, setup->cut, e);
    listen_for_carrier(g);
    start_mpirun(g, path);
    struct leader_door door = { g->listener, g->life, -1, 60000, lost, NULL };
    c = c ? c : leader_accept(&door, &g->leader, e);
    c = c ? c : leader_begin(g->leader, setup, e);
    o.part = (struct model_part){ 0, setup->cut[1] };
    c = c ? c : model_load(g->f, &o, pool, &g->model, e);
    if (c)
        printf("# %s\n", e->text);
    return !c;
}

static int end(struct group *g)
{
    int status = -1;
    leader_free(g->leader);
    model_free(g->model);
    gguf_close(g->f);
    close(g->listener);
    close(g->life);
    waitpid(g->pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- the tests */

static void check_file(const char *path, int ranks)
{
    static const struct drive how = { .threads = 2, .chunk = 7, .companions = 3 };
    static float want[POSITIONS * VOCAB_MAX], got[POSITIONS * VOCAB_MAX];
    struct kern_table kern;
    struct model *whole;
    struct group g;
    struct dist_setup setup;
    struct err e = { 0 };
    int ids[POSITIONS];
    kern_table_fill(&kern, kern_isa_detect(KERN_AMX));
    struct pool *pool = pool_new(2);
    if (!begin(&g, path, ranks, pool, &kern, &setup, &e))
        lost(NULL, e.text);
    struct model_load_options o = { .kern = &kern, .kv_type = KERN_F16 };
    CHECK_INT(model_load(g.f, &o, pool, &whole, &e), ERR_OK);
    int vocab = model_facts(whole)->vocab;
    for (int i = 0; i < POSITIONS; i++)
        ids[i] = (i * 37 + 11) % vocab;
    struct drive d = how;
    d.m = whole;
    drive(&d, ids, POSITIONS, want);
    d.m = g.model;
    d.prepare = prepare;
    d.arg = &g;
    drive(&d, ids, POSITIONS, got);
    CHECK(!memcmp(want, got, (size_t)POSITIONS * (size_t)vocab * sizeof *want));
    leader_check(g.leader); /* nobody was lost */
    CHECK_INT(end(&g), 0);
    model_free(whole);
    pool_free(pool);
}

static bool no_mpirun(void)
{
#ifdef __SANITIZE_THREAD__
    return true; /* MPI's own threads are not instrumented; part_test has what is ours */
#endif
    const char *b = getenv("B");
    char program[512];
    snprintf(program, sizeof program, "%s/tokenworks", b && *b ? b : "build");
    return access("/usr/bin/mpirun", X_OK) || access(program, X_OK);
}

static void golden_over_ranks(void)
{
    char path[512], rest[128];
    snprintf(rest, sizeof rest, "golden/models/%s.gguf", current->name);
    if (no_mpirun())
        SKIP("no mpirun, no build/tokenworks, or a build that MPI cannot have");
    if (!shared_path(path, sizeof path, rest))
        SKIP("no golden data");
    printf("# %s over %d ranks\n", current->name, current->ranks);
    check_file(path, current->ranks);
}

static void write_tiny(char *path, size_t size, int flip)
{
    struct buf b = { 0 };
    struct err e = { 0 };
    tiny_model(&b);
    b.data[b.len - 1] ^= (char)flip;
    snprintf(path, size, "/tmp/tw-ranks-%d-%d.gguf", (int)getpid(), flip);
    CHECK_INT(file_write(path, b.data, b.len, &e), ERR_OK);
    buf_release(&b);
}

static void tiny_over_ranks(void)
{
    char path[64];
    if (no_mpirun())
        SKIP("no mpirun, or no build/tokenworks");
    write_tiny(path, sizeof path, 0);
    check_file(path, 2);
    unlink(path);
}

/* What a rank cannot do is said by rank 0, in one sentence that names the rank; and all of them end. */
static void check_refusal(const char *own, const char *theirs, const char *version, const char *says)
{
    struct kern_table kern;
    struct group g = { .ranks = 2 };
    struct err e = { 0 };
    struct dist_setup setup = { .ranks = 2, .cut = { 0, 1, 2 }, .kv_type = KERN_F16, .isa = KERN_ISA_COUNT,
                                .best_effort = 1 };
    unsigned char page[64];
    snprintf(setup.version, sizeof setup.version, "%s", version);
    kern_table_fill(&kern, kern_isa_detect(KERN_AMX));
    int fd = open(own, O_RDONLY | O_CLOEXEC);
    CHECK_INT(dist_fingerprint(fd, setup.model, &e), ERR_OK);
    close(fd);
    listen_for_carrier(&g);
    start_mpirun(&g, theirs);
    struct leader_door door = { g.listener, g.life, -1, 60000, lost, NULL };
    CHECK_INT(leader_accept(&door, &g.leader, &e), ERR_OK);
    CHECK_INT(leader_begin(g.leader, &setup, &e), ERR_OK);
    struct parcel_limits limits = { .rows_max = 8, .runs_max = 2, .ctx = 64, .page_count = 4, .dim = TINY_DIM };
    CHECK(leader_open(g.leader, &limits, &(struct leader_pages){ page, 64, 4 }, &e) != ERR_OK);
    printf("# %s\n", e.text);
    CHECK(strstr(e.text, "rank 1 on ") != NULL && strstr(e.text, says) != NULL);
    CHECK_INT(end(&g), 0);
}

static void says_what_a_rank_cannot_do(void)
{
    char one[64], other[64];
    if (no_mpirun())
        SKIP("no mpirun, or no build/tokenworks");
    write_tiny(one, sizeof one, 0);
    write_tiny(other, sizeof other, 1);
    check_refusal(one, other, TW_VERSION, "another one here");
    check_refusal(one, "/nowhere/model.gguf", TW_VERSION, "cannot open the model");
    check_refusal(one, one, "0.0.0-old", "not the one of rank 0");
    unlink(one);
    unlink(other);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 0); /* for the carriers: MPI leaves much behind */
    RUN(tiny_over_ranks);
    RUN(says_what_a_rank_cannot_do);
    for (size_t i = 0; i < MEM_COUNT(golden) && (!TW_SANITIZED || i < 2); i++) {
        current = &golden[i];
        RUN(golden_over_ranks);
    }
    DONE();
}
