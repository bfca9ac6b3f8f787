/* trust_log -- tokenworks trust log: what it holds, requests to witnesses, their answers, proofs; trust policy test. */
#include "cmd/cmd.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "cmd/trust_sub.h"
#include "front/cosign.h"
#include "trust/policy.h"
#include "trust/proof.h"
#include "trust/witness.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 20, COSIG_MAX_AGE_S = 24 * 3600 };

struct log_options {
    const char *state;
    int64_t old;
};
static const struct opt log_rows[] = {
    { "state", 0, OPT_STRING, "DIR", "where state lives", OPT_FIELD(struct log_options, state), 0, 0 },
    { "old", 0, OPT_INT, "SIZE", "the size the witness saw last (default: of the published checkpoint)",
      OPT_FIELD(struct log_options, old), 0, 9e15 },
    { 0 } };
static const struct opt_command log_spec = {
    "trust log", "[request [--old SIZE] | cosign FILE... | submit | prove LEAF]",
    "print the log's head, ask a witness, take its answer, prove a leaf",
    "request writes an add-checkpoint request to stdout: carry it to `tokenworks witness sign` or POST it to a "
    "witness. cosign takes the lines that came back; with enough of them the checkpoint is published. "
    "submit does both with the witnesses whose addresses stand in the trust policy.", log_rows };

static void read_published(const struct site *s, struct buf *out)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/log/checkpoint", s->pub);
    if (file_read(buf_str(&path), FILE_BYTES_MAX, out, NULL))
        buf_clear(out);
    buf_release(&path);
}

static enum err_code write_request(const struct site *s, struct tlog *t, int64_t old, struct err *e)
{
    struct buf published = { 0 }, out = { 0 };
    struct note *n = MEM_NEW(struct note);
    struct tree_proof *p = MEM_NEW(struct tree_proof);
    struct checkpoint cp = { 0 };
    uint64_t from = old > 0 ? (uint64_t)old : 0;
    read_published(s, &published);
    if (old < 0 && published.len && !note_parse((struct span){ published.data, published.len }, n, NULL) &&
        !checkpoint_parse(n->text, &cp, NULL))
        from = cp.size;
    enum err_code c = tree_prove_grown(from, tlog_size(t), tiles_hash, tlog_tiles(t), p, e);
    if (!c) {
        witness_request(from, p, tlog_head(t), &out);
        fwrite(out.data, 1, out.len, stdout);
    }
    mem_free(p);
    mem_free(n);
    buf_release(&published);
    buf_release(&out);
    return c;
}

static enum err_code publish_lines(const struct site *s, struct tlog *t, struct buf *note, struct err *e);

/* Adds the lines of each file to the head; what the quorum does not know is left out by verification. */
static enum err_code take_cosignatures(const struct site *s, struct tlog *t, char **files, int count, struct err *e)
{
    struct buf note = { 0 };
    enum err_code c = ERR_OK;
    buf_append(&note, tlog_head(t).data, tlog_head(t).len);
    for (int i = 0; !c && i < count; i++)
        c = file_read(files[i], FILE_BYTES_MAX, &note, e);
    if (!c)
        c = publish_lines(s, t, &note, e);
    buf_release(&note);
    return c;
}

static enum err_code publish_lines(const struct site *s, struct tlog *t, struct buf *note, struct err *e)
{
    struct quorum *q = MEM_NEW(struct quorum);
    struct note *n = MEM_NEW(struct note);
    struct checkpoint cp;
    int log = 0;
    const struct quorum_time when = { clock_wall_s(), COSIG_MAX_AGE_S, 300 };
    enum err_code c = site_quorum(s, q, e);
    if (!c)
        c = quorum_check(q, (struct span){ note->data, note->len }, &when, n, &cp, &log, e);
    if (!c)
        c = tlog_cosigned(t, (struct span){ note->data, note->len }, e);
    if (!c)
        printf("published the checkpoint of %" PRIu64 " leaves with %d signatures\n", cp.size, n->sig_count);
    mem_free(q);
    mem_free(n);
    return c;
}

static enum err_code submit(const struct site *s, struct tlog *t, struct err *e)
{
    struct quorum *q = MEM_NEW(struct quorum);
    struct http_client *http = http_client_new();
    struct buf note = { 0 };
    int asked = 0;
    enum err_code c = site_quorum(s, q, e);
    buf_append(&note, tlog_head(t).data, tlog_head(t).len);
    for (int i = 0; !c && i < q->node_count; i++) {
        struct err why = { 0 };
        if (q->nodes[i].is_group || !q->nodes[i].url[0])
            continue;
        asked++;
        const struct cosign_head head = { tlog_head(t), tlog_tiles(t), tlog_size(t) };
        if (cosign_ask(http, q->nodes[i].url, &head, &note, &why)) /* the others may be enough */
            fprintf(stderr, "%s: %s\n", q->nodes[i].name, why.text);
    }
    if (!c && !asked)
        c = err_set(e, ERR_INVALID, "no witness of the trust policy has an address");
    if (!c)
        c = publish_lines(s, t, &note, e);
    http_client_free(http);
    mem_free(q);
    buf_release(&note);
    return c;
}

/* ---- while a server holds the log: its files can be read, and signatures left for it */

static void path_in(const struct site *s, const char *name, struct buf *out)
{
    buf_clear(out);
    buf_printf(out, "%s/%s", s->dir, name);
}

/* The head as it stands, remembered so that the signatures that come back find it again. */
static enum err_code request_beside(const struct site *s, int64_t old, struct err *e)
{
    struct buf path = { 0 }, head = { 0 }, out = { 0 };
    struct note *n = MEM_NEW(struct note);
    struct tree_proof *p = MEM_NEW(struct tree_proof);
    struct checkpoint cp = { 0 };
    struct tiles tiles = { 0 };
    buf_printf(&path, "%s/log/head", s->pub);
    enum err_code c = file_read(buf_str(&path), FILE_BYTES_MAX, &head, e);
    if (!c)
        c = note_parse((struct span){ buf_str(&head), head.len }, n, e);
    if (!c)
        c = checkpoint_parse(n->text, &cp, e);
    buf_clear(&path);
    buf_printf(&path, "%s/log", s->pub);
    tiles_open(&tiles, buf_str(&path), cp.size);
    if (!c)
        c = tree_prove_grown(old > 0 ? (uint64_t)old : 0, cp.size, tiles_hash, &tiles, p, e);
    tiles_close(&tiles);
    path_in(s, "requested", &path);
    if (!c)
        c = file_write(buf_str(&path), head.data, head.len, e);
    if (!c) {
        witness_request(old > 0 ? (uint64_t)old : 0, p, (struct span){ head.data, head.len }, &out);
        fwrite(out.data, 1, out.len, stdout);
    }
    mem_free(n);
    mem_free(p);
    buf_release(&path);
    buf_release(&head);
    buf_release(&out);
    return c;
}

static enum err_code cosign_beside(const struct site *s, char **files, int count, struct err *e)
{
    struct buf path = { 0 }, note = { 0 };
    path_in(s, "requested", &path);
    enum err_code c = file_read(buf_str(&path), FILE_BYTES_MAX, &note, e);
    for (int i = 0; !c && i < count; i++)
        c = file_read(files[i], FILE_BYTES_MAX, &note, e);
    if (!c)
        c = cosign_gather(s, (struct span){ buf_str(&note), note.len }, e);
    path_in(s, "cosigned", &path);
    if (!c)
        c = file_write(buf_str(&path), note.data, note.len, e);
    if (!c)
        fprintf(stderr, "left for the running server, which publishes it within a second\n");
    buf_release(&path);
    buf_release(&note);
    return c;
}

static enum err_code prove(struct tlog *t, const char *leaf, struct err *e)
{
    struct buf out = { 0 };
    uint64_t index = 0;
    enum err_code c = code_uint(span_of(leaf), &index) ? tlog_prove(t, index, &out, e)
                                                       : err_set(e, ERR_INVALID, "a leaf is a number");
    if (!c)
        fwrite(out.data, 1, out.len, stdout);
    buf_release(&out);
    return c;
}

int trust_run_log(int argc, char **argv)
{
    struct log_options o = { .old = -1 };
    struct site s;
    struct key_secret key = { 0 };
    struct tlog *t = NULL;
    struct err e = { 0 };
    int n;
    enum opt_result r = opt_parse(&log_spec, argc, argv, &o, &n);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    trust_site_open(&s, o.state);
    enum err_code c = site_log(&s, &key, &t, &e);
    const char *verb = n ? argv[1] : "";
    if (c == ERR_BUSY && !strcmp(verb, "request") && n == 1)
        c = request_beside(&s, o.old, &e);
    else if (c == ERR_BUSY && !strcmp(verb, "cosign") && n >= 2)
        c = cosign_beside(&s, argv + 2, n - 1, &e);
    else if (!c && !n)
        fwrite(tlog_head(t).data, 1, tlog_head(t).len, stdout);
    else if (!c && !strcmp(verb, "request") && n == 1)
        c = write_request(&s, t, o.old, &e);
    else if (!c && !strcmp(verb, "cosign") && n >= 2)
        c = take_cosignatures(&s, t, argv + 2, n - 1, &e);
    else if (!c && !strcmp(verb, "submit") && n == 1)
        c = submit(&s, t, &e);
    else if (!c && !strcmp(verb, "prove") && n == 2)
        c = prove(t, argv[2], &e);
    else if (!c)
        c = err_set(&e, ERR_INVALID, "say request, cosign FILE..., submit or prove LEAF (tokenworks trust log --help)");
    tlog_close(t);
    key_secret_wipe(&key);
    site_close(&s);
    return trust_end(&log_spec, c, &e);
}

/* ---- policy test, policy explain */

struct policy_options {
    const char *tenant, *model, *site, *data_class;
    bool is_signed, sealed, stores;
};
static const struct opt policy_rows[] = {
    { "tenant", 't', OPT_STRING, "NAME", "who asks", OPT_FIELD(struct policy_options, tenant), 0, 0 },
    { "model", 'm', OPT_STRING, "NAME", "which model", OPT_FIELD(struct policy_options, model), 0, 0 },
    { "site", 's', OPT_STRING, "NAME", "where", OPT_FIELD(struct policy_options, site), 0, 0 },
    { "class", 'c', OPT_STRING, "NAME", "the data class asked for",
      OPT_FIELD(struct policy_options, data_class), 0, 0 },
    { "signed", 0, OPT_FLAG, NULL, "the request is signed", OPT_FIELD(struct policy_options, is_signed), 0, 0 },
    { "sealed", 0, OPT_FLAG, NULL, "the request is sealed", OPT_FIELD(struct policy_options, sealed), 0, 0 },
    { "stores", 0, OPT_FLAG, NULL, "content would be kept", OPT_FIELD(struct policy_options, stores), 0, 0 },
    { 0 } };
static const struct opt_command policy_spec = {
    "trust policy", "explain FILE --tenant T --model M --site S | test FILE CASES.json", "ask a policy",
    "CASES is a list of objects with tenant, model, site, class, signed, sealed, stores, and what must come out: "
    "expect (allow or deny) and, if it matters, rule.", policy_rows };

static const char *text_at(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static enum err_code test_cases(const struct policy *p, const char *path, struct err *e)
{
    json_t *cases = jsonx_parse_file(path, POLICY_FILE_MAX, e);
    size_t failed = 0, count = json_array_size(cases);
    if (!cases || !json_is_array(cases)) {
        json_decref(cases);
        return e->code ? e->code : err_set(e, ERR_INVALID, "%s: a list of cases is needed", path);
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *o = json_array_get(cases, i);
        const char *expect = text_at(o, "expect"), *rule = text_at(o, "rule");
        const struct policy_request q = {
            .tenant = text_at(o, "tenant"), .model = text_at(o, "model"), .site = text_at(o, "site"),
            .data_class = text_at(o, "class"), .is_signed = json_is_true(json_object_get(o, "signed")),
            .is_sealed = json_is_true(json_object_get(o, "sealed")),
            .stores = json_is_true(json_object_get(o, "stores")) };
        struct policy_decision d;
        policy_decide(p, &q, &d);
        bool ok = expect && !strcmp(expect, d.allow ? "allow" : "deny") && (!rule || !strcmp(rule, d.rule));
        printf("%s %zu %s by %s\n", ok ? "ok  " : "FAIL", i + 1, d.allow ? "allow" : "deny", d.rule);
        failed += !ok;
    }
    json_decref(cases);
    return failed ? err_set(e, ERR_INVALID, "%zu of %zu cases came out otherwise", failed, count) : ERR_OK;
}

int trust_run_policy(int argc, char **argv)
{
    struct policy_options o = { 0 };
    struct buf text = { 0 }, out = { 0 };
    struct policy *p = NULL;
    struct err e = { 0 };
    bool explain = !strcmp(argv[0], "explain");
    int n;
    enum opt_result r = opt_parse(&policy_spec, argc, argv, &o, &n);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    enum err_code c = n == (explain ? 1 : 2) ? file_read(argv[1], POLICY_FILE_MAX, &text, &e)
                                             : err_set(&e, ERR_INVALID, "give the policy file%s",
                                                       explain ? "" : " and the cases");
    if (!c)
        c = policy_parse_text((struct span){ buf_str(&text), text.len }, NULL, &p, &e);
    if (!c && explain) {
        policy_explain(p, &(struct policy_request){ o.tenant, o.model, o.site, o.data_class, o.is_signed, o.sealed,
                                                    o.stores }, &out);
        fputs(buf_str(&out), stdout);
    } else if (!c) {
        c = test_cases(p, argv[2], &e);
    }
    policy_free(p);
    buf_release(&text);
    buf_release(&out);
    return trust_end(&policy_spec, c, &e);
}
