/* trust_receipts -- tokenworks trust receipts: a boot with receipts of made-up requests, to try out the evidence;
 * trust bench: what receipts, proofs and audits cost on this machine. */
#include "cmd/cmd.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cmd/trust_sub.h"
#include "trust/audit.h"
#include "trust/boot.h"
#include "trust/evidence.h"
#include "trust/policy.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 500, FILE_BYTES_MAX = 4 << 20 };

struct receipts_options {
    const char *state, *place, *tenant, *model, *previous, *computed;
    int64_t count;
    bool lie;
};

static const struct opt receipts_rows[] = {
    { "state", 0, OPT_STRING, "DIR", "where state lives", OPT_FIELD(struct receipts_options, state), 0, 0 },
    { "count", 'n', OPT_INT, "N", "how many (default 100)", OPT_FIELD(struct receipts_options, count), 1, 1e8 },
    { "place", 0, OPT_STRING, "NAME", "the site's name in the policy",
      OPT_FIELD(struct receipts_options, place), 0, 0 },
    { "tenant", 't', OPT_STRING, "NAME", "who asks",
      OPT_FIELD(struct receipts_options, tenant), 0, 0 },
    { "model", 'm', OPT_STRING, "NAME", "which model, by its signed name",
      OPT_FIELD(struct receipts_options, model), 0, 0 },
    { "previous", 0, OPT_STRING, "BOOT", "the boot this one follows",
      OPT_FIELD(struct receipts_options, previous), 0, 0 },
    { "computed", 0, OPT_STRING, "PARTS", "which workers of a fleet computed them, as a receipt says it",
      OPT_FIELD(struct receipts_options, computed), 0, 0 },
    { "lie", 0, OPT_FLAG, NULL, "write the opposite of each decision, to see the audit find it",
      OPT_FIELD(struct receipts_options, lie), 0, 0 },
    { 0 } };
static const struct opt_command receipts_spec = {
    "trust receipts", "--place SITE --tenant T --model M [--count N] [--previous BOOT]",
    "append receipts of made-up requests", "Each request is put to the signed policy; its receipt says what came out. "
    "Prints the boot's id. Nothing is generated: this is for trying the log, witnesses and the audit.", receipts_rows };

struct run { /* one made-up boot */
    struct site site;
    struct key_secret log_key;
    struct tlog *log;
    struct boot_signer signer;
    struct evidence *evidence;
    struct policy *policy;
    char policy_hash[HASH_TEXT_MAX], model_hash[HASH_TEXT_MAX], release_hash[HASH_TEXT_MAX];
    uint8_t pseudonym[PSEUDONYM_KEY_BYTES];
    char month[8], boot[33];
};

static enum err_code load_policy(struct run *r, struct err *e)
{
    struct buf path = { 0 }, text = { 0 };
    struct note *n = MEM_NEW(struct note);
    struct statement s;
    uint64_t seq;
    enum err_code c = site_latest(&r->site, STATEMENT_POLICY, r->policy_hash, &seq, e);
    if (!c && !seq)
        c = err_set(e, ERR_NOT_FOUND, "sign a policy first: tokenworks trust policy FILE");
    buf_printf(&path, "%s/notes/policy/%s.note", r->site.pub, r->policy_hash + (seq ? 7 : 0));
    if (!c)
        c = file_read(buf_str(&path), FILE_BYTES_MAX, &text, e);
    if (!c)
        c = note_parse((struct span){ text.data, text.len }, n, e);
    if (!c)
        c = statement_parse(n->text, &s, e);
    if (!c) {
        struct span file = statement_get(&s, "file");
        buf_clear(&path);
        buf_printf(&path, "%s/policies/%.*s.policy", r->site.pub, (int)file.len - 7, file.data + 7);
        buf_clear(&text);
        c = file_read(buf_str(&path), FILE_BYTES_MAX, &text, e);
    }
    if (!c)
        c = policy_parse_text((struct span){ buf_str(&text), text.len }, NULL, &r->policy, e);
    mem_free(n);
    buf_release(&path);
    buf_release(&text);
    return c;
}

/* The newest model note of that name; "-" when there is none: then the policy will not know it either. */
static void find_model(struct run *r, const char *name)
{
    struct buf dir = { 0 };
    struct note *n = MEM_NEW(struct note);
    uint64_t best = 0;
    buf_printf(&dir, "%s/notes/model", r->site.pub);
    DIR *d = opendir(buf_str(&dir));
    snprintf(r->model_hash, sizeof r->model_hash, "-");
    for (struct dirent *f = d ? readdir(d) : NULL; f; f = readdir(d)) {
        struct buf path = { 0 }, text = { 0 };
        struct statement s;
        uint8_t hash[HASH_BYTES];
        buf_printf(&path, "%s/%s", buf_str(&dir), f->d_name);
        if (f->d_name[0] != '.' && !file_read(buf_str(&path), FILE_BYTES_MAX, &text, NULL) &&
            !note_parse((struct span){ text.data, text.len }, n, NULL) && !statement_parse(n->text, &s, NULL) &&
            span_is(statement_get(&s, "name"), name) && statement_uint(&s, "seq") > best) {
            best = statement_uint(&s, "seq");
            code_sha256(hash, text.data, text.len);
            code_hash_text(r->model_hash, hash);
        }
        buf_release(&path);
        buf_release(&text);
    }
    if (d)
        closedir(d);
    mem_free(n);
    buf_release(&dir);
}

static enum err_code publish_node(struct run *r, const struct receipts_options *o, const char *jurisdiction,
                                  struct err *e)
{
    struct buf text = { 0 };
    char vkey[KEY_TEXT_MAX], hash[HASH_TEXT_MAX];
    uint64_t seq, before = 0;
    uint8_t last[HASH_BYTES];
    key_public_text(&r->signer.key.pub, vkey);
    enum err_code c = site_latest(&r->site, STATEMENT_RELEASE, r->release_hash, &seq, e);
    if (!c && o->previous)
        c = evidence_recover(r->site.pub, o->previous, r->log, &before, last, e);
    const struct boot_node n = { .name = "node1", .boot = r->boot, .previous_boot = o->previous, .site = o->place,
                                 .jurisdiction = jurisdiction, .release = r->release_hash, .policy = r->policy_hash,
                                 .models = r->model_hash, .previous_receipts = before, .receipt_key = vkey,
                                 .not_before = clock_wall_s(), .not_after = clock_wall_s() + NODE_LIFE_MAX_S };
    if (!c)
        c = boot_node_text(&n, &text, e);
    if (!c)
        c = site_publish(&r->site, r->log, STATEMENT_NODE, (struct span){ text.data, text.len }, hash, e);
    buf_release(&text);
    return c;
}

static enum err_code run_open(struct run *r, const struct receipts_options *o, struct err *e)
{
    struct chain *chain = MEM_NEW(struct chain);
    struct policy_decision d = { 0 };
    trust_site_open(&r->site, o->state);
    boot_id(r->boot);
    pseudonym_month(clock_wall_s(), r->month);
    enum err_code c = site_chain(&r->site, chain, e);
    if (!c)
        c = site_log(&r->site, &r->log_key, &r->log, e);
    if (!c)
        c = load_policy(r, e);
    if (!c)
        c = site_pseudonym(&r->site, r->month, r->pseudonym, e);
    if (!c)
        c = boot_signer_init(&r->signer, chain->site, r->boot, e);
    if (!c) {
        find_model(r, o->model);
        const struct policy_request q = { .tenant = o->tenant, .model = o->model, .site = o->place };
        policy_decide(r->policy, &q, &d);
        c = d.jurisdiction[0] ? publish_node(r, o, d.jurisdiction, e)
                              : err_set(e, ERR_INVALID, "the policy knows no site '%s'", o->place);
    }
    if (!c)
        c = evidence_open(r->site.pub, r->boot, r->log, &r->evidence, e);
    mem_free(chain);
    return c;
}

static void run_close(struct run *r)
{
    evidence_close(r->evidence);
    tlog_close(r->log);
    policy_free(r->policy);
    boot_signer_wipe(&r->signer);
    key_secret_wipe(&r->log_key);
    mem_wipe(r->pseudonym, sizeof r->pseudonym);
    site_close(&r->site);
}

static enum err_code take_parts(const char *text, struct receipt *x, struct err *e)
{
    struct span rest = span_of(text ? text : "-"), item;
    while (statement_next(&rest, &item))
        if (x->computed_count == COMPUTED_MAX || !computed_parse(item, &x->computed[x->computed_count++]))
            return err_set(e, ERR_INVALID, "--computed: at most %d of 'CC/SITE/WORKER boot=16HEX model=sha256:HEX "
                           "numerics=sha256:HEX tokens=N', commas between them", COMPUTED_MAX);
    return ERR_OK;
}

static enum err_code add_one(struct run *r, const struct receipts_options *o, int64_t i, struct err *e)
{
    struct receipt x = { .tokens_in = 12, .started = clock_wall_s(), .ended = clock_wall_s() };
    struct policy_decision d;
    struct buf note = { 0 };
    struct commit commit;
    uint8_t salt[COMMIT_SALT_BYTES];
    policy_decide(r->policy, &(struct policy_request){ .tenant = o->tenant, .model = o->model, .site = o->place }, &d);
    if (o->lie) {
        d.allow = !d.allow;
        snprintf(d.rule, sizeof d.rule, "made-up");
    }
    snprintf(x.id, sizeof x.id, "demo-%.8s-%" PRId64, r->boot, i);
    x.has_release = code_unhash_text(x.release, span_of(r->release_hash));
    x.has_model = code_unhash_text(x.model, span_of(r->model_hash));
    x.has_policy = code_unhash_text(x.policy, span_of(r->policy_hash));
    x.has_tenant = true;
    pseudonym_tag(r->pseudonym, r->month, o->tenant, x.tenant);
    x.allow = d.allow;
    snprintf(x.rule, sizeof x.rule, "%s", d.rule);
    snprintf(x.site, sizeof x.site, "%s", o->place);
    snprintf(x.jurisdiction, sizeof x.jurisdiction, "%s", d.jurisdiction);
    snprintf(x.data_class, sizeof x.data_class, "%s", d.data_class);
    rng_system(salt, sizeof salt);
    commit_begin(&commit, COMMIT_REQUEST, salt);
    commit_add(&commit, "made up", 7);
    commit_end(&commit, x.request);
    x.has_response = d.allow;
    if (d.allow) {
        commit_begin(&commit, COMMIT_RESPONSE, salt);
        commit_end(&commit, x.response);
        x.tokens_out = 30;
        x.has_seed = true;
    }
    snprintf(x.finish, sizeof x.finish, "%s", d.allow ? "stop" : "denied");
    enum err_code c = take_parts(o->computed, &x, e);
    if (!c)
        c = boot_sign(&r->signer, &x, &note, e);
    if (!c)
        c = evidence_add(r->evidence, x.id, (struct span){ note.data, note.len }, e);
    if (!c && evidence_waiting(r->evidence) >= BATCH)
        c = evidence_commit(r->evidence, e);
    buf_release(&note);
    return c;
}

static enum err_code run_all(struct run *r, const struct receipts_options *o, struct err *e)
{
    struct buf text = { 0 };
    char hash[HASH_TEXT_MAX];
    enum err_code c = run_open(r, o, e);
    for (int64_t i = 0; !c && i < o->count; i++)
        c = add_one(r, o, i, e);
    if (!c)
        c = evidence_commit(r->evidence, e);
    if (!c)
        c = boot_close_text(&r->signer, clock_wall_s(), &text, e);
    if (!c)
        c = site_publish(&r->site, r->log, STATEMENT_CLOSE, (struct span){ text.data, text.len }, hash, e);
    buf_release(&text);
    return c;
}

int trust_run_receipts(int argc, char **argv)
{
    struct receipts_options o = { .count = 100 };
    struct err e = { 0 };
    int n;
    enum opt_result p = opt_parse(&receipts_spec, argc, argv, &o, &n);
    if (p != OPT_RUN)
        return p == OPT_HELP_SHOWN ? 0 : 2;
    if (!o.place || !o.tenant || !o.model) {
        fprintf(stderr, "tokenworks trust receipts: give --place, --tenant and --model\n");
        return 2;
    }
    struct run *r = MEM_NEW(struct run);
    enum err_code c = run_all(r, &o, &e);
    if (!c)
        printf("%s\n", r->boot);
    run_close(r);
    mem_free(r);
    return trust_end(&receipts_spec, c, &e);
}

/* ---- bench */

struct bench_options {
    const char *dir;
    int64_t count, threads;
};
static const struct opt bench_rows[] = {
    { "dir", 'd', OPT_STRING, "DIR", "an empty folder to work in", OPT_FIELD(struct bench_options, dir), 0, 0 },
    { "count", 'n', OPT_INT, "N", "receipts (default 100000)", OPT_FIELD(struct bench_options, count), 1000, 1e8 },
    { "threads", 't', OPT_INT, "N", "threads of the audit", OPT_FIELD(struct bench_options, threads), 1, 512 },
    { 0 } };
static const struct opt_command bench_spec = {
    "trust bench", "--dir DIR [--count N] [--threads N]", "receipts appended per second, proof time, audit time", NULL,
    bench_rows };

static const char bench_policy[] =
    "{\"version\":1,\"classes\":[\"internal\"],\"sites\":{\"s\":{\"jurisdiction\":\"DE\",\"operator-law\":[\"DE\"]}},"
    "\"tenants\":{\"t\":{\"home\":\"DE\",\"process-in\":[\"DE\"],\"default-class\":\"internal\"}},"
    "\"models\":{\"m\":{\"max-class\":\"internal\",\"territory\":[\"DE\"]}},"
    "\"rules\":[{\"id\":\"all\",\"effect\":\"allow\",\"when\":{}}]}\n";

static double since_s(int64_t start_ns)
{
    return (double)(clock_mono_ns() - start_ns) / 1e9;
}

/* Of this process, all threads: what other processes do does not count. */
static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static enum err_code bench_site(const struct bench_options *o, struct err *e)
{
    struct site s;
    struct buf file = { 0 };
    trust_site_open(&s, o->dir);
    enum err_code c = site_init(&s, &(struct site_plan){ .name = "bench.example", .now_s = clock_wall_s() }, e);
    buf_printf(&file, "%s/policy.json", s.dir);
    if (!c)
        c = file_write(buf_str(&file), bench_policy, sizeof bench_policy - 1, e);
    char model[4096], state[4096];
    snprintf(model, sizeof model, "%s", buf_str(&file));
    snprintf(state, sizeof state, "--state=%s", o->dir);
    char *policy_argv[] = { (char *)"trust", (char *)"policy", state, model, NULL };
    char *model_argv[] = { (char *)"trust", (char *)"model", state, (char *)"--name=m", model, NULL };
    if (!c && (cmd_trust(4, policy_argv) || cmd_trust(5, model_argv)))
        c = err_set(e, ERR_IO, "the statements could not be signed");
    site_close(&s);
    buf_release(&file);
    return c;
}

static enum err_code bench_proofs(const struct bench_options *o, struct err *e)
{
    struct site s;
    struct key_secret key = { 0 };
    struct tlog *t = NULL;
    struct tree_proof *p = MEM_NEW(struct tree_proof);
    uint8_t root[HASH_BYTES], leaf[HASH_BYTES];
    trust_site_open(&s, o->dir);
    enum err_code c = site_log(&s, &key, &t, e);
    if (!c)
        c = tree_root(tlog_size(t), tiles_hash, tlog_tiles(t), root, e);
    if (!c)
        c = tree_prove_leaf(tlog_size(t) / 3, tlog_size(t), tiles_hash, tlog_tiles(t), p, e);
    if (!c)
        c = tiles_hash(tlog_tiles(t), 0, tlog_size(t) / 3, leaf, e);
    double cpu = cpu_s();
    const int rounds = 10000;
    for (int i = 0; !c && i < rounds; i++)
        c = tree_check_leaf(leaf, tlog_size(t) / 3, tlog_size(t), p, root, e);
    if (!c)
        printf("proof of %d hashes verified in %.1f us of CPU\n", p->count, (cpu_s() - cpu) / rounds * 1e6);
    tlog_close(t);
    key_secret_wipe(&key);
    mem_free(p);
    site_close(&s);
    return c;
}

static enum err_code bench_audit(const struct bench_options *o, struct err *e)
{
    struct site s;
    struct buf policy = { 0 }, path = { 0 }, keys = { 0 };
    struct audit_result r = { 0 };
    trust_site_open(&s, o->dir);
    buf_printf(&path, "%s/trust.policy", s.pub);
    buf_printf(&keys, "%s/keys", s.dir);
    enum err_code c = file_read(buf_str(&path), FILE_BYTES_MAX, &policy, e);
    const struct audit_options a = { .bundle = s.pub, .trust_policy = { policy.data, policy.len },
                                     .pseudonyms = buf_str(&keys), .threads = (int)o->threads };
    int64_t start = clock_mono_ns();
    double cpu = cpu_s();
    if (!c)
        c = audit_run(&a, &r, e);
    if (!c)
        printf("audit of %" PRIu64 " receipts: %.1f s, %" PRIu64 " findings, %.0f us of CPU a receipt\n", r.receipts,
               since_s(start), r.findings, (cpu_s() - cpu) / (double)r.receipts * 1e6);
    buf_release(&r.text);
    buf_release(&policy);
    buf_release(&path);
    buf_release(&keys);
    site_close(&s);
    return c;
}

int trust_run_bench(int argc, char **argv)
{
    struct bench_options o = { .count = 100000 };
    struct err e = { 0 };
    int n;
    enum opt_result p = opt_parse(&bench_spec, argc, argv, &o, &n);
    if (p != OPT_RUN || !o.dir)
        return p == OPT_HELP_SHOWN ? 0 : 2;
    struct run *r = MEM_NEW(struct run);
    enum err_code c = bench_site(&o, &e);
    const struct receipts_options ro = { .state = o.dir, .place = "s", .tenant = "t", .model = "m", .count = o.count };
    int64_t start = clock_mono_ns();
    double cpu = cpu_s();
    if (!c)
        c = run_all(r, &ro, &e);
    if (!c)
        printf("%" PRId64 " receipts decided, signed, stored and logged: %.0f a second, %.0f us of CPU each\n", o.count,
               (double)o.count / since_s(start), (cpu_s() - cpu) / (double)o.count * 1e6);
    run_close(r);
    mem_free(r);
    if (!c)
        c = bench_proofs(&o, &e);
    if (!c)
        c = bench_audit(&o, &e);
    return trust_end(&bench_spec, c, &e);
}
