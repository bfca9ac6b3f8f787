/* trust -- tokenworks trust: set a site's evidence up, sign what it stands on, look after its log. */
#include "cmd/cmd.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "cmd/trust_sub.h"
#include "trust/modelsig.h"
#include "trust/policy.h"
#include "trust/site.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { STATEMENT_LIFE_DAYS = 365, DAY_S = 86400, FILES_MAX = 256 };

/* ---- what the subcommands share */

void trust_site_open(struct site *s, const char *state)
{
    struct buf b = { 0 };
    char *home = file_state_dir(state);
    buf_printf(&b, "%s/trust", home);
    site_open(s, buf_str(&b));
    buf_release(&b);
    mem_free(home);
}

int trust_end(const struct opt_command *spec, enum err_code c, const struct err *e)
{
    return c ? cmd_fail(spec, e) : 0;
}

/* ---- init */

struct init_options {
    const char *state, *site;
    struct opt_strings witnesses;
};

static const struct opt init_rows[] = {
    { "state", 0, OPT_STRING, "DIR", "where state lives", OPT_FIELD(struct init_options, state), 0, 0 },
    { "site", 's', OPT_STRING, "NAME", "the site's name, as a domain: berlin.example",
      OPT_FIELD(struct init_options, site), 0, 0 },
    { "witness", 'w', OPT_STRINGS, "VKEY", "a witness's verifier key; most of those given must cosign",
      OPT_FIELD(struct init_options, witnesses), 0, 0 },
    { 0 } };
static const struct opt_command init_spec = {
    "trust init", "--site NAME [--witness VKEY]...", "make a site: keys, root note, log, trust policy",
    "All keys are made on this machine and the root note says 'development': good for trying out. For production "
    "make the root keys on a machine without network, two of three sign, and move what is printed below offline.",
    init_rows };

static void print_what_to_move(const struct site *s)
{
    printf("The site is in %s.\n\n"
           "Development keys: they were all made here, and the root note says so.\n"
           "Move offline, to two or more people:  keys/root-a.key keys/root-b.key keys/root-c.key\n"
           "Move to whoever releases and decides: keys/release.key keys/model.key keys/model-p256.pem keys/policy.key\n"
           "                                      keys/revoke.key\n"
           "Give to the auditor:                  keys/auditor.key, and keys/pseudonym-*.key month by month\n"
           "Stay here, for the keeper:            keys/log.key keys/node.key\n"
           "Anybody may have:                     public/ (clients need public/trust.policy)\n", s->dir);
}

static int run_init(int argc, char **argv)
{
    struct init_options o = { 0 };
    int n;
    enum opt_result r = opt_parse(&init_spec, argc, argv, &o, &n);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    struct site s;
    struct err e = { 0 };
    struct site_plan plan = { .name = o.site, .now_s = clock_wall_s() };
    if (!o.site || n || o.witnesses.count > SITE_WITNESSES_MAX) {
        fprintf(stderr, "tokenworks trust init: give --site NAME\n");
        return 2;
    }
    plan.witness_count = o.witnesses.count;
    for (int i = 0; i < o.witnesses.count; i++)
        plan.witnesses[i] = o.witnesses.v[i];
    trust_site_open(&s, o.state);
    enum err_code c = site_init(&s, &plan, &e);
    if (!c)
        print_what_to_move(&s);
    site_close(&s);
    return trust_end(&init_spec, c, &e);
}

/* ---- statements: release, model, policy, revoke */

struct sign_options {
    const char *state, *version, *commit, *name, *reason;
    int64_t days;
};

static const struct opt sign_rows[] = {
    { "state", 0, OPT_STRING, "DIR", "where state lives", OPT_FIELD(struct sign_options, state), 0, 0 },
    { "version", 0, OPT_STRING, "V", "the release's version", OPT_FIELD(struct sign_options, version), 0, 0 },
    { "commit", 0, OPT_STRING, "ID", "the source commit", OPT_FIELD(struct sign_options, commit), 0, 0 },
    { "name", 'n', OPT_STRING, "NAME", "the model's name, as the policy calls it",
      OPT_FIELD(struct sign_options, name), 0, 0 },
    { "reason", 0, OPT_STRING, "TEXT", "why it is revoked", OPT_FIELD(struct sign_options, reason), 0, 0 },
    { "days", 0, OPT_INT, "N", "how long the statement is valid", OPT_FIELD(struct sign_options, days), 1, 3650 },
    { 0 } };
static const struct opt_command sign_spec = {
    "trust", "release --version V FILE... | model --name NAME FILE... | policy FILE | revoke HASH|VKEY --reason TEXT",
    "sign a statement and log it", NULL, sign_rows };

static enum err_code hash_path(const char *path, uint8_t out[HASH_BYTES], struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "%s: cannot open", path);
    enum err_code c = modelsig_hash_fd(fd, out, e);
    close(fd);
    return c;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static enum err_code hash_files(char **paths, int count, struct modelsig *m, struct buf *pairs, struct err *e)
{
    enum err_code c = ERR_OK;
    if (count < 1 || count > FILES_MAX)
        c = err_set(e, ERR_INVALID, "give 1 to %d files", FILES_MAX);
    m->files = c ? NULL : mem_new((size_t)count, sizeof *m->files);
    for (int i = 0; !c && i < count; i++) {
        struct modelsig_file *f = &m->files[m->count++];
        snprintf(f->name, sizeof f->name, "%s", base_name(paths[i]));
        c = hash_path(paths[i], f->sha256, e);
    }
    if (!c)
        c = modelsig_root(m, e); /* sorts */
    for (int i = 0; !c && i < m->count; i++) {
        char hash[HASH_TEXT_MAX];
        code_hash_text(hash, m->files[i].sha256);
        buf_printf(pairs, "%s%s=%s", i ? "," : "", m->files[i].name, hash);
    }
    return c;
}

struct sign_job {
    struct site site;
    struct tlog *log;
    struct key_secret log_key;
    char seq[24], expires[TIME_TEXT_MAX], hash[HASH_TEXT_MAX];
};

static enum err_code job_open(struct sign_job *j, const struct sign_options *o, enum statement_type type, struct err *e)
{
    uint64_t seq = 0;
    char latest[HASH_TEXT_MAX];
    trust_site_open(&j->site, o->state);
    enum err_code c = site_latest(&j->site, type, latest, &seq, e);
    snprintf(j->seq, sizeof j->seq, "%" PRIu64, seq + 1);
    code_time_text(j->expires, clock_wall_s() + o->days * DAY_S);
    if (!c)
        c = site_log(&j->site, &j->log_key, &j->log, e);
    return c == ERR_BUSY ? ERR_OK : c; /* a server writes the log: it takes the statement in */
}

static void job_close(struct sign_job *j)
{
    tlog_close(j->log);
    key_secret_wipe(&j->log_key);
    site_close(&j->site);
}

static enum err_code publish(struct sign_job *j, enum statement_type type, const struct span *v, int count,
                             struct err *e)
{
    struct buf text = { 0 };
    enum err_code c = statement_write(type, v, count, &text, e);
    if (!c)
        c = site_publish(&j->site, j->log, type, (struct span){ text.data, text.len }, j->hash, e);
    if (!c)
        printf("%s %s number %s\n", statement_name(type), j->hash, j->seq);
    buf_release(&text);
    return c;
}

static enum err_code sign_release(struct sign_job *j, const struct sign_options *o, char **files, int n, struct err *e)
{
    struct modelsig m = { .model = "release" };
    struct buf pairs = { 0 };
    enum err_code c = hash_files(files, n, &m, &pairs, e);
    const struct span v[] = { span_of(o->version ? o->version : TW_VERSION), span_of(j->seq),
                              { buf_str(&pairs), pairs.len }, span_of(o->commit ? o->commit : "-"),
                              span_of(j->expires) };
    if (!c)
        c = publish(j, STATEMENT_RELEASE, v, 5, e);
    modelsig_release(&m);
    buf_release(&pairs);
    return c;
}

static enum err_code make_bundle(struct sign_job *j, struct modelsig *m, char hash[HASH_TEXT_MAX], struct err *e)
{
    struct buf path = { 0 }, pem = { 0 }, bundle = { 0 };
    uint8_t h[HASH_BYTES];
    buf_printf(&path, "%s/keys/model-p256.pem", j->site.dir);
    enum err_code c = file_read(buf_str(&path), 1 << 16, &pem, e);
    if (!c)
        c = modelsig_make(m, (struct span){ pem.data, pem.len }, &bundle, e);
    buf_clear(&path);
    buf_printf(&path, "%s/models/%s.sig", j->site.pub, m->model);
    if (!c)
        c = file_write(buf_str(&path), bundle.data, bundle.len, e);
    code_sha256(h, buf_str(&bundle), bundle.len);
    code_hash_text(hash, h);
    if (pem.data)
        mem_wipe(pem.data, pem.len);
    buf_release(&path);
    buf_release(&pem);
    buf_release(&bundle);
    return c;
}

static enum err_code sign_model(struct sign_job *j, const struct sign_options *o, char **files, int n, struct err *e)
{
    struct modelsig m = { 0 };
    struct buf pairs = { 0 };
    char root[HASH_TEXT_MAX] = "", bundle[HASH_TEXT_MAX] = "";
    snprintf(m.model, sizeof m.model, "%s", o->name ? o->name : n ? base_name(files[0]) : "");
    if (strchr(m.model, '/'))
        return err_set(e, ERR_INVALID, "a model's name has no slash");
    enum err_code c = hash_files(files, n, &m, &pairs, e);
    if (!c)
        c = make_bundle(j, &m, bundle, e);
    code_hash_text(root, m.root);
    const struct span v[] = { span_of(m.model), span_of(j->seq), span_of(root), { buf_str(&pairs), pairs.len },
                              span_of(bundle), span_of(j->expires) };
    if (!c)
        c = publish(j, STATEMENT_MODEL, v, 6, e);
    modelsig_release(&m);
    buf_release(&pairs);
    return c;
}

static enum err_code sign_policy(struct sign_job *j, char **files, int n, struct err *e)
{
    struct buf text = { 0 }, path = { 0 };
    struct policy *p = NULL;
    uint8_t hash[HASH_BYTES];
    char file[HASH_TEXT_MAX];
    enum err_code c = n == 1 ? file_read(files[0], POLICY_FILE_MAX, &text, e)
                             : err_set(e, ERR_INVALID, "give one policy file");
    if (!c)
        c = policy_parse_text((struct span){ buf_str(&text), text.len }, hash, &p, e);
    if (!c) {
        code_hash_text(file, hash);
        buf_printf(&path, "%s/policies/%s.policy", j->site.pub, file + 7);
        c = file_write(buf_str(&path), text.data, text.len, e);
    }
    const struct span v[] = { span_of(j->seq), c ? SPAN("-") : span_of(file), span_of(j->expires) };
    if (!c)
        c = publish(j, STATEMENT_POLICY, v, 3, e);
    policy_free(p);
    buf_release(&text);
    buf_release(&path);
    return c;
}

static enum err_code sign_revoke(struct sign_job *j, const struct sign_options *o, char **args, int n, struct err *e)
{
    char at[TIME_TEXT_MAX];
    if (n != 1 || !o->reason)
        return err_set(e, ERR_INVALID, "give the hash or verifier key to revoke, and --reason");
    code_time_text(at, clock_wall_s());
    const struct span v[] = { span_of(j->seq), span_of(args[0]), span_of(o->reason), span_of(at) };
    return publish(j, STATEMENT_REVOKE, v, 4, e);
}

static int run_sign(int argc, char **argv)
{
    struct sign_options o = { .days = STATEMENT_LIFE_DAYS };
    struct sign_job *j = MEM_NEW(struct sign_job);
    struct err e = { 0 };
    enum statement_type type = STATEMENT_RELEASE;
    statement_type_of(span_of(argv[0]), &type);
    int n;
    enum opt_result r = opt_parse(&sign_spec, argc, argv, &o, &n);
    enum err_code c = ERR_OK;
    if (r == OPT_RUN) {
        c = job_open(j, &o, type, &e);
        if (!c && type == STATEMENT_RELEASE)
            c = sign_release(j, &o, argv + 1, n, &e);
        else if (!c && type == STATEMENT_MODEL)
            c = sign_model(j, &o, argv + 1, n, &e);
        else if (!c && type == STATEMENT_POLICY)
            c = sign_policy(j, argv + 1, n, &e);
        else if (!c)
            c = sign_revoke(j, &o, argv + 1, n, &e);
        job_close(j);
    }
    mem_free(j);
    return r != OPT_RUN ? (r == OPT_HELP_SHOWN ? 0 : 2) : trust_end(&sign_spec, c, &e);
}

/* ---- the table */

static const struct opt no_rows[] = { { 0 } };
const struct opt_command cmd_trust_spec = {
    "trust", "init | release | model | policy [test|explain] | client | revoke | log | receipts | bench",
    "set up and look after a site's evidence: keys, statements, log",
    "init       make a site's keys, root note, log and trust policy\n"
    "release    sign the program's artifacts            model     sign a model's files\n"
    "policy     sign a policy file; policy test FILE CASES and policy explain FILE --tenant T --model M --site S\n"
    "client     enrol a tenant's signing key\n"
    "revoke     take back a statement or key            log       status, witness requests, cosignatures, proofs\n"
    "receipts   append receipts of made-up requests     bench     what the evidence costs\n"
    "Each has its own --help.", no_rows };

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} subs[] = { { "init", run_init },     { "release", run_sign },          { "model", run_sign },
             { "policy", run_sign },   { "revoke", run_sign },           { "client", trust_run_client },
             { "log", trust_run_log },
             { "receipts", trust_run_receipts }, { "bench", trust_run_bench } };

int cmd_trust(int argc, char **argv)
{
    struct err e = { 0 };
    if (argc >= 2 && trust_init(&e))
        return cmd_fail(&cmd_trust_spec, &e);
    if (argc >= 3 && !strcmp(argv[1], "policy") && (!strcmp(argv[2], "test") || !strcmp(argv[2], "explain")))
        return trust_run_policy(argc - 2, argv + 2);
    for (size_t i = 0; argc >= 2 && i < MEM_COUNT(subs); i++)
        if (!strcmp(argv[1], subs[i].name))
            return subs[i].run(argc - 1, argv + 1);
    bool help = argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"));
    if (help)
        opt_print_help(&cmd_trust_spec, stdout);
    else
        fprintf(stderr, "tokenworks trust: %s%s%s (tokenworks trust --help shows them)\n",
                argc >= 2 ? "there is no '" : "say what to do: init, release, model, policy, client, revoke, log",
                argc >= 2 ? argv[1] : "", argc >= 2 ? "'" : "");
    return help ? 0 : 2;
}
