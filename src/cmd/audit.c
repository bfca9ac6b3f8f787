/* audit -- tokenworks audit: check a site's bundle offline and say what is wrong with it. */
#include "cmd/cmd.h"

#include "base/clock.h"
#include "base/file.h"
#include "trust/audit.h"

#include <inttypes.h>
#include <stdio.h>

enum { POLICY_BYTES_MAX = 1 << 20 };

struct audit_cmd_options {
    const char *root, *pseudonyms, *models;
    int64_t threads, max_age_s;
};

static const struct opt rows[] = {
    { "root", 0, OPT_STRING, "sha256:HEX", "hash of root.note, known to you by other means",
      OPT_FIELD(struct audit_cmd_options, root), 0, 0 },
    { "pseudonyms", 0, OPT_STRING, "DIR", "pseudonym-<month>.key files: decisions are evaluated again",
      OPT_FIELD(struct audit_cmd_options, pseudonyms), 0, 0 },
    { "models", 0, OPT_STRING, "DIR", "model files: hashed and compared",
      OPT_FIELD(struct audit_cmd_options, models), 0, 0 },
    { "fresh", 0, OPT_INT, "SECONDS", "the checkpoint's cosignatures must be that young, and nothing expired",
      OPT_FIELD(struct audit_cmd_options, max_age_s), 1, 1e9 },
    { "threads", 't', OPT_INT, "N", "threads", OPT_FIELD(struct audit_cmd_options, threads), 1, 512 },
    { 0 } };
const struct opt_command cmd_audit_spec = {
    "audit", "[options] BUNDLE POLICY", "check a site's evidence offline",
    "BUNDLE is a site's public folder, or a copy. POLICY is your own trust policy: which log and which witnesses you "
    "believe (log, witness, group and quorum lines). Prints FAIL and NOTE lines, then a summary; exit 1 when anything "
    "is wrong.", rows };

int cmd_audit(int argc, char **argv)
{
    struct audit_cmd_options o = { 0 };
    struct audit_result r = { 0 };
    struct buf policy = { 0 };
    struct err e = { 0 };
    int n;
    enum opt_result p = opt_parse(&cmd_audit_spec, argc, argv, &o, &n);
    if (p != OPT_RUN)
        return p == OPT_HELP_SHOWN ? 0 : 2;
    if (n != 2) {
        fprintf(stderr, "tokenworks audit: give BUNDLE and POLICY\n");
        return 2;
    }
    enum err_code c = trust_init(&e);
    if (!c)
        c = file_read(argv[2], POLICY_BYTES_MAX, &policy, &e);
    const struct audit_options a = { .bundle = argv[1], .trust_policy = { buf_str(&policy), policy.len },
                                     .root_hash = o.root, .pseudonyms = o.pseudonyms, .models = o.models,
                                     .threads = (int)o.threads, .now_s = o.max_age_s ? clock_wall_s() : 0,
                                     .max_age_s = o.max_age_s };
    if (!c)
        c = audit_run(&a, &r, &e);
    fputs(buf_str(&r.text), stdout);
    if (!c) {
        printf("%" PRIu64 " leaves, %" PRIu64 " checkpoints, %" PRIu64 " statements, %" PRIu64 " receipts (%" PRIu64
               " denials), %" PRIu64 " decisions evaluated again, %" PRIu64 " model files hashed",
               r.leaves, r.checkpoints, r.notes, r.receipts, r.denials, r.decided_again, r.files_hashed);
        if (r.parts)
            printf(", %" PRIu64 " workers of a fleet named", r.parts);
        if (r.findings)
            printf(": %" PRIu64 " %s wrong\n", r.findings, r.findings == 1 ? "thing is" : "things are");
        else
            puts(": nothing is wrong");
    }
    buf_release(&r.text);
    buf_release(&policy);
    return c ? cmd_fail(&cmd_audit_spec, &e) : r.findings ? 1 : 0;
}
