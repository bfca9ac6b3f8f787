/* energy -- see energy.h. Zones counted: each package (cores, caches and, on desktops, graphics are inside it) and each
 * memory zone beside it. Not counted: core and uncore (parts of a package), psys (contains everything), and the mmio
 * copies of the same counters. */
#include "ledger/energy.h"

#include "base/file.h"
#include "base/mem.h"
#include "ledger/nvml.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SYSFS_VALUE_MAX = 4096, PROC_STAT_MAX = 1 << 20, ROOT_MAX = 256, NAME_MAX_BYTES = 32 };

struct zone {
    char path[ROOT_MAX + 320];
    char name[NAME_MAX_BYTES];
    int64_t last_uj, range_uj;
};

struct energy {
    char root[ROOT_MAX];
    struct energy_model model;
    struct zone zones[ENERGY_ZONES_MAX];
    int zone_count;
    const char *why_modelled;  /* NULL: counters are read */
    struct nvml *gpus;         /* NULL: none that count */
    int64_t rest_uj;           /* not yet a whole millijoule */
    int64_t last_ns;
    int64_t last_ticks;        /* busy processor time at the last reading */
};

const struct energy_model energy_model_default = { 30, 6 };

static bool read_text(const char *path, size_t max, struct buf *out)
{
    buf_clear(out);
    return file_read(path, max, out, NULL) == ERR_OK;
}

static bool read_number(const char *folder, const char *file, int64_t *out)
{
    struct buf path = { 0 }, text = { 0 };
    char *end = NULL;
    buf_printf(&path, "%s/%s", folder, file);
    bool ok = read_text(buf_str(&path), SYSFS_VALUE_MAX, &text);
    long long v = ok ? strtoll(buf_str(&text), &end, 10) : -1;
    ok = ok && end != buf_str(&text) && v >= 0;
    if (ok)
        *out = v;
    buf_release(&path);
    buf_release(&text);
    return ok;
}

/* ---- RAPL */

static bool counts(const char *name)
{
    return !strncmp(name, "package", 7) || !strcmp(name, "dram");
}

static void add_zone(struct energy *e, const char *folder)
{
    struct buf path = { 0 }, name = { 0 };
    struct zone *z = &e->zones[e->zone_count];
    buf_printf(&path, "%s/name", folder);
    if (read_text(buf_str(&path), SYSFS_VALUE_MAX, &name)) {
        snprintf(z->name, sizeof z->name, "%.*s", (int)strcspn(buf_str(&name), "\n"), buf_str(&name));
        snprintf(z->path, sizeof z->path, "%s", folder);
        if (counts(z->name)) {
            if (read_number(folder, "energy_uj", &z->last_uj) &&
                read_number(folder, "max_energy_range_uj", &z->range_uj))
                e->zone_count++;
            else
                e->why_modelled = "energy_uj cannot be read (it is root's; give the service's group read permission)";
        }
    }
    buf_release(&path);
    buf_release(&name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct zone *)a)->path, ((const struct zone *)b)->path);
}

static void find_zones(struct energy *e)
{
    char folder[ROOT_MAX + 320];
    snprintf(folder, sizeof folder, "%s/sys/class/powercap", e->root);
    DIR *d = opendir(folder);
    e->why_modelled = "this machine shows no energy counter (powercap, intel-rapl)";
    if (!d)
        return;
    bool complete = true;
    for (struct dirent *f; (f = readdir(d)) != NULL && e->zone_count < ENERGY_ZONES_MAX;) {
        if (strncmp(f->d_name, "intel-rapl:", 11)) /* not "intel-rapl" itself, not "intel-rapl-mmio:0" */
            continue;
        snprintf(folder, sizeof folder, "%s/sys/class/powercap/%s", e->root, f->d_name);
        const char *before = e->why_modelled;
        add_zone(e, folder);
        complete &= before == e->why_modelled;
    }
    closedir(d);
    qsort(e->zones, (size_t)e->zone_count, sizeof *e->zones, by_name);
    if (e->zone_count && complete) /* half the machine is no measurement */
        e->why_modelled = NULL;
}

/* Micro-joules since the last reading; false: a counter is gone. */
static bool read_zones(struct energy *e, int64_t *uj)
{
    int64_t sum = 0;
    for (int i = 0; i < e->zone_count; i++) {
        struct zone *z = &e->zones[i];
        int64_t now;
        if (!read_number(z->path, "energy_uj", &now))
            return false;
        sum += now >= z->last_uj ? now - z->last_uj : now + (z->range_uj > z->last_uj ? z->range_uj - z->last_uj : 0);
        z->last_uj = now;
    }
    *uj = sum;
    return true;
}

/* ---- the model */

/* Busy time of all processors in ticks: the first seven columns of "cpu" without idle and iowait. */
static int64_t busy_ticks(const struct energy *e)
{
    struct buf path = { 0 }, text = { 0 };
    int64_t busy = 0;
    buf_printf(&path, "%s/proc/stat", e->root);
    if (read_text(buf_str(&path), PROC_STAT_MAX, &text) && !strncmp(buf_str(&text), "cpu ", 4)) {
        const char *p = buf_str(&text) + 4;
        for (int i = 0; i < 7; i++) {
            char *end;
            long long v = strtoll(p, &end, 10);
            if (end == p)
                break;
            busy += i == 3 || i == 4 ? 0 : v;
            p = end;
        }
    }
    buf_release(&path);
    buf_release(&text);
    return busy;
}

static int64_t model_uj(struct energy *e, int64_t passed_ns)
{
    int64_t ticks = busy_ticks(e), busy = ticks > e->last_ticks ? ticks - e->last_ticks : 0;
    e->last_ticks = ticks;
    double busy_s = (double)busy / (double)sysconf(_SC_CLK_TCK);
    return (int64_t)((e->model.idle_w * (double)passed_ns * 1e-9 + e->model.core_w * busy_s) * 1e6);
}

/* ---- the public functions */

struct energy *energy_open(const char *root, const struct energy_model *model)
{
    struct energy *e = MEM_NEW(struct energy);
    snprintf(e->root, sizeof e->root, "%s", root);
    e->model = model ? *model : energy_model_default;
    find_zones(e);
    e->gpus = nvml_open(root);
    e->last_ticks = busy_ticks(e);
    e->last_ns = -1;
    return e;
}

void energy_close(struct energy *e)
{
    if (e)
        nvml_close(e->gpus);
    mem_free(e);
}

int64_t energy_read(struct energy *e, int64_t now_ns)
{
    int64_t passed = e->last_ns >= 0 && now_ns > e->last_ns ? now_ns - e->last_ns : 0, uj = 0;
    e->last_ns = now_ns;
    if (!e->why_modelled && !read_zones(e, &uj)) {
        e->why_modelled = "a counter could no longer be read";
        e->last_ticks = busy_ticks(e) - 1; /* this interval's busy time is lost, its idle power is not */
    }
    if (e->why_modelled)
        uj = model_uj(e, passed);
    e->rest_uj += uj;
    int64_t mj = e->rest_uj / 1000;
    e->rest_uj %= 1000;
    return mj + nvml_read(e->gpus);
}

bool energy_modelled(const struct energy *e)
{
    return e->why_modelled != NULL;
}

void energy_describe(const struct energy *e, struct buf *out)
{
    if (e->why_modelled) {
        buf_printf(out, "modelled: %g W idle and %g W for each busy core, because %s", e->model.idle_w,
                   e->model.core_w, e->why_modelled);
    } else {
        buf_puts(out, "RAPL: ");
        for (int i = 0; i < e->zone_count; i++)
            buf_printf(out, "%s%s", i ? ", " : "", e->zones[i].name);
    }
    if (nvml_gpus(e->gpus))
        buf_printf(out, "; NVML: %d GPU%s", nvml_gpus(e->gpus), nvml_gpus(e->gpus) > 1 ? "s" : "");
}
