/* energy_test -- a sysfs tree of our own: which zones count, counters that wrap, machines without any. */
#include "../test.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "ledger/charge.h"
#include "ledger/energy.h"

#include <stdlib.h>
#include <unistd.h>

static char root[64];

static void write_file(const char *path, const char *text)
{
    char full[256], folder[256];
    snprintf(full, sizeof full, "%s/%s", root, path);
    snprintf(folder, sizeof folder, "%s", full);
    *strrchr(folder, '/') = '\0';
    CHECK_INT(file_make_dirs(folder, NULL), ERR_OK);
    CHECK_INT(file_write(full, text, strlen(text), NULL), ERR_OK);
}

static void zone(const char *id, const char *name, const char *uj, const char *range)
{
    char path[128];
    snprintf(path, sizeof path, "sys/class/powercap/%s/name", id);
    write_file(path, name);
    snprintf(path, sizeof path, "sys/class/powercap/%s/energy_uj", id);
    write_file(path, uj);
    snprintf(path, sizeof path, "sys/class/powercap/%s/max_energy_range_uj", id);
    write_file(path, range);
}

static void set(const char *id, const char *uj)
{
    char path[128];
    snprintf(path, sizeof path, "sys/class/powercap/%s/energy_uj", id);
    write_file(path, uj);
}

static void make_tree(void)
{
    snprintf(root, sizeof root, "/tmp/tw_energy_XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    write_file("proc/stat", "cpu  100 0 50 1000 20 5 5 0 0 0\ncpu0 1 2 3\n");
}

static void remove_tree(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    FILE *p = popen(command, "r");
    if (p)
        pclose(p);
}

static void counters_are_summed_and_wrap(void)
{
    make_tree();
    zone("intel-rapl:0", "package-0\n", "1000000\n", "262143328850\n");
    zone("intel-rapl:1", "package-1\n", "262143328000\n", "262143328850\n");
    zone("intel-rapl:0:0", "core\n", "5\n", "262143328850\n");
    zone("intel-rapl:0:1", "dram\n", "7000\n", "65712999613\n");
    zone("intel-rapl:2", "psys\n", "9\n", "262143328850\n");
    zone("intel-rapl-mmio:0", "package-0\n", "1000000\n", "262143328850\n");
    struct energy *e = energy_open(root, NULL);
    struct buf b = { 0 };
    energy_describe(e, &b);
    CHECK_STR(buf_str(&b), "RAPL: package-0, dram, package-1");
    CHECK(!energy_modelled(e));
    set("intel-rapl:0", "1500000\n");
    set("intel-rapl:0:0", "100000000\n"); /* inside package-0: not counted again */
    set("intel-rapl:2", "100000000\n");
    set("intel-rapl-mmio:0", "100000000\n");
    CHECK_INT(energy_read(e, 1), 500);
    set("intel-rapl:1", "1150\n"); /* wrapped: 850 to the end of the range, then 1150 */
    set("intel-rapl:0:1", "7900\n");
    CHECK_INT(energy_read(e, 2), 2); /* 2000 + 900 uJ; the 900 stay for the next reading */
    set("intel-rapl:0:1", "8000\n");
    CHECK_INT(energy_read(e, 3), 1);
    CHECK_INT(energy_read(e, 4), 0);
    char path[128];
    snprintf(path, sizeof path, "%s/sys/class/powercap/intel-rapl:0/energy_uj", root);
    unlink(path); /* gone while running: from now on modelled, and said */
    CHECK_INT(energy_read(e, 4 + 1000000000), 30 * 1000 + 60); /* a second idle, one tick's remainder */
    CHECK(energy_modelled(e));
    energy_close(e);
    buf_release(&b);
    remove_tree();
}

static void without_counters_it_is_modelled(void)
{
    make_tree();
    struct energy_model m = { 10, 5 };
    struct energy *e = energy_open(root, &m);
    struct buf b = { 0 };
    energy_describe(e, &b);
    CHECK(energy_modelled(e));
    CHECK(!strncmp(buf_str(&b), "modelled: 10 W idle and 5 W for each busy core, because this machine", 68));
    CHECK_INT(energy_read(e, 1000000000), 0);
    long tick = sysconf(_SC_CLK_TCK);
    char stat[128];
    snprintf(stat, sizeof stat, "cpu  %ld 0 50 9000 90 5 5 0 0 0\n", 100 + 3 * tick); /* three core-seconds busy */
    write_file("proc/stat", stat);
    CHECK_INT(energy_read(e, 3000000000), 2 * 10000 + 3 * 5000);
    energy_close(e);
    buf_release(&b);
    remove_tree();
}

static void half_a_machine_is_no_measurement(void)
{
    make_tree();
    zone("intel-rapl:0", "package-0\n", "1000000\n", "262143328850\n");
    zone("intel-rapl:1", "package-1\n", "no number\n", "262143328850\n");
    struct energy *e = energy_open(root, NULL);
    CHECK(energy_modelled(e));
    energy_close(e);
    remove_tree();
}

/* Requests that start, work and end at random between readings: every joule is charged once (C1). */
static void every_joule_is_charged_once(void)
{
    struct rng r = { .seed = 11 };
    struct charge_pool p = { 0 };
    struct charge slots[16] = { { 0 } }, *running[16];
    bool live[16] = { false };
    int64_t read = 0, ended = 0;
    for (int step = 0; step < 100000; step++) {
        int i = (int)rng_below(&r, 16), n = 0;
        if (rng_below(&r, 20) == 0) {
            int64_t mj = (int64_t)rng_below(&r, 60000);
            for (int k = 0; k < 16; k++)
                if (live[k])
                    running[n++] = &slots[k];
            charge_reading(&p, running, n, mj, true);
            read += mj;
        } else if (!live[i]) {
            slots[i] = (struct charge){ 0 };
            live[i] = true;
        } else if (rng_below(&r, 10) == 0) {
            ended += charge_end(&p, &slots[i]);
            live[i] = false;
        } else {
            charge_work(&p, &slots[i], (int64_t)rng_below(&r, 500));
        }
        int64_t open = 0;
        for (int k = 0; k < 16; k++)
            open += live[k] ? slots[k].mj : 0;
        CHECK(ended + open + p.idle_mj - p.prepaid_mj == read);
    }
    CHECK(ended > 0 && p.idle_mj < read / 10);
}

static void energy_follows_the_work(void)
{
    struct charge_pool p = { 0 };
    struct charge a = { 0 }, b = { 0 }, c = { 0 };
    struct charge *both[] = { &a, &b };
    charge_work(&p, &a, 30);
    charge_work(&p, &b, 10);
    charge_reading(&p, both, 2, 4000, false);
    CHECK_INT(a.mj, 3000);
    CHECK_INT(b.mj, 1000);
    charge_work(&p, &c, 5); /* begins and ends between two readings: at the last rate, 100 mJ a token */
    CHECK_INT(charge_end(&p, &c), 500);
    charge_work(&p, &a, 5);
    charge_reading(&p, both, 2, 1200, true);
    CHECK_INT(a.mj, 3700); /* 500 of it were c's */
    CHECK(a.modelled && !b.modelled);
    charge_reading(&p, both, 2, 50, true);
    CHECK_INT(p.idle_mj, 50);
}

/* A driver's library of our own: two GPUs that count, one that does not, their counters in a file. */
static const char fake_driver[] =
    "#include <stdio.h>\n#include <stdlib.h>\n"
    "int nvmlInit_v2(void) { return 0; }\nint nvmlShutdown(void) { return 0; }\n"
    "int nvmlDeviceGetCount_v2(unsigned *n) { *n = 3; return 0; }\n"
    "int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **out) { *out = (char *)8 + i; return 0; }\n"
    "int nvmlDeviceGetTotalEnergyConsumption(void *d, unsigned long long *mj) {\n"
    "  unsigned long long v[2]; FILE *f = fopen(getenv(\"TW_FAKE_NVML\"), \"r\");\n"
    "  int n = f ? fscanf(f, \"%llu %llu\", &v[0], &v[1]) : 0; if (f) fclose(f);\n"
    "  int i = (int)((char *)d - (char *)8); if (n != 2 || i > 1) return 3; *mj = v[i]; return 0; }\n";

static void gpus_count_beside_the_processors(void)
{
    char command[400], counters[128];
    make_tree();
    zone("intel-rapl:0", "package-0\n", "1000000\n", "262143328850\n");
    write_file("fake.c", fake_driver);
    write_file("counters", "5000 100");
    write_file("usr/lib/x", "");
    snprintf(command, sizeof command, "${CC:-cc} -shared -fPIC -o %s/usr/lib/libnvidia-ml.so.1 %s/fake.c 2>&1", root,
             root);
    FILE *p = popen(command, "r");
    if (!p || pclose(p)) {
        remove_tree();
        SKIP("no compiler to make a driver's library with");
    }
    snprintf(counters, sizeof counters, "%s/counters", root);
    setenv("TW_FAKE_NVML", counters, 1);
    struct energy *e = energy_open(root, NULL);
    struct buf text = { 0 };
    energy_describe(e, &text);
    CHECK_STR(buf_str(&text), "RAPL: package-0; NVML: 2 GPUs");
    CHECK(!energy_modelled(e));
    CHECK_INT(energy_read(e, 0), 0);
    set("intel-rapl:0", "3000000\n");
    write_file("counters", "7500 400");
    CHECK_INT(energy_read(e, 1000000000), 2000 + 2500 + 300);
    write_file("counters", "10 500"); /* one was reset: what it took meanwhile is not known */
    CHECK_INT(energy_read(e, 2000000000), 100);
    write_file("counters", "nothing");
    CHECK_INT(energy_read(e, 3000000000), 0);
    write_file("counters", "40 600");
    CHECK_INT(energy_read(e, 4000000000), 130);
    buf_release(&text);
    energy_close(e);
    remove_tree();
}

int main(void)
{
    RUN(energy_follows_the_work);
    RUN(every_joule_is_charged_once);
    RUN(counters_are_summed_and_wrap);
    RUN(without_counters_it_is_modelled);
    RUN(half_a_machine_is_no_measurement);
    RUN(gpus_count_beside_the_processors);
    DONE();
}
