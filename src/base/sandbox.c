/* sandbox -- see sandbox.h: the order of the layers, the small ones, and the report.
 *
 * Order matters: whatever still needs /proc or privileges comes first, seccomp last. */
#include "base/sandbox.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/sandbox_impl.h"

#include <dirent.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef TW_SANITIZED
static const bool sanitized = true; /* a sanitizer's runtime makes calls and threads of its own */
#else
static const bool sanitized = false;
#endif

enum { CAP_SCAN_MAX = 64 };

static enum err_code check_single_thread(struct err *e)
{
    DIR *d = opendir("/proc/self/task");
    if (!d)
        return err_errno(e, "the sandbox cannot count its threads: mount /proc");
    int n = 0;
    for (struct dirent *t = readdir(d); t && n < 2; t = readdir(d))
        n += t->d_name[0] != '.';
    closedir(d);
    return n <= 1 || sanitized ? ERR_OK
                               : err_set(e, ERR_INVALID, "threads exist already: sandbox_enter must come before them");
}

static enum err_code layer_network(const struct sandbox_profile *p, struct sandbox_report *r, struct err *e)
{
    enum err_code c = sandbox_ns_enter(&r->user_ns, e);
    if (!c)
        c = sandbox_check_no_route(e);
    if (!c && p->air_gapped)
        c = sandbox_prove(r->proof, sizeof r->proof, e);
    r->network_ns = !c;
    return c;
}

static enum err_code layer_no_core(const struct sandbox_profile *p, struct sandbox_report *r, struct err *e)
{
    const struct rlimit none = { 0, 0 };
    if (setrlimit(RLIMIT_CORE, &none))
        return err_errno(e, "RLIMIT_CORE cannot be set to 0");
    r->no_core = true;
    return ERR_OK;
}

static enum err_code layer_no_new_privs(const struct sandbox_profile *p, struct sandbox_report *r, struct err *e)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return err_errno(e, "no_new_privs cannot be set");
    r->no_new_privs = true;
    return ERR_OK;
}

static enum err_code layer_landlock(const struct sandbox_profile *p, struct sandbox_report *r, struct err *e)
{
    return sandbox_landlock_enter(&r->landlock_abi, e);
}

static enum err_code layer_no_caps(const struct sandbox_profile *p, struct sandbox_report *r, struct err *e)
{
    for (int cap = 0; cap < CAP_SCAN_MAX && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* fails without CAP_SETPCAP; no_new_privs covers that case */
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
    if (syscall(SYS_capset, &head, none))
        return err_errno(e, "capabilities cannot be given up");
    r->no_caps = true;
    return ERR_OK;
}

static enum err_code layer_no_dump(const struct sandbox_profile *p, struct sandbox_report *r, struct err *e)
{
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        return err_errno(e, "PR_SET_DUMPABLE cannot be set to 0");
    r->no_dump = true;
    return ERR_OK;
}

static enum err_code layer_seccomp(const struct sandbox_profile *p, struct sandbox_report *r, struct err *e)
{
    if (sanitized)
        return ERR_OK;
    enum err_code c = sandbox_seccomp_enter(p->threads, &r->syscalls, e);
    r->seccomp = !c;
    return c;
}

/* The order: /proc and privileges are used up before they are taken away. */
static enum err_code (*const layers[])(const struct sandbox_profile *, struct sandbox_report *, struct err *) = {
    layer_network, layer_no_core, layer_no_new_privs, layer_landlock, layer_no_caps, layer_no_dump, layer_seccomp,
};

static void describe(const struct sandbox_profile *p, struct sandbox_report *r)
{
    char filter[32] = "none";
    if (r->seccomp)
        snprintf(filter, sizeof filter, "kill:%d", r->syscalls);
    else if (sanitized)
        snprintf(filter, sizeof filter, "left-out-for-sanitizer");
    snprintf(r->text, sizeof r->text, "%s netns=%d landlock=%d seccomp=%s nnp=%d nodump=%d nocore=%d nocaps=%d",
             p->name, r->network_ns, r->landlock_abi, filter, r->no_new_privs, r->no_dump, r->no_core, r->no_caps);
}

enum err_code sandbox_enter(const struct sandbox_profile *p, struct sandbox_report *out, struct err *e)
{
    struct sandbox_report r = { 0 };
    struct err local = { 0 };
    e = e ? e : &local;
    enum err_code c = check_single_thread(e);
    if (!c)
        c = sandbox_fds_check(e);
    for (size_t i = 0; !c && i < MEM_COUNT(layers); i++) {
        c = layers[i](p, &r, e);
        if (c && c != ERR_INVALID && p->best_effort && !p->air_gapped) {
            size_t n = strlen(r.missing);
            snprintf(r.missing + n, sizeof r.missing - n, "%s%s", n ? "; " : "", e->text);
            c = ERR_OK;
        }
    }
    if (c) {
        err_prefix(e, "%s sandbox", p->name);
        return c;
    }
    describe(p, &r);
    if (r.missing[0])
        log_line(LOG_WARN, "sandbox", "%s runs without: %s", p->name, r.missing);
    if (p->air_gapped)
        log_line(LOG_INFO, "sandbox", "%s has no way out: %s; then closed by %s", p->name, r.proof, r.text);
    if (sanitized)
        log_line(LOG_INFO, "sandbox", "%s: the seccomp filter is left out of this sanitizer build", p->name);
    *out = r;
    return ERR_OK;
}
