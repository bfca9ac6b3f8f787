/* energy_test -- a sysfs tree of our own: which zones count, counters that wrap, machines without any. */
#include "../test.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
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

static void parts_sum_up(void)
{
    struct rng r = { .seed = 3 };
    for (int round = 0; round < 2000; round++) {
        int64_t weights[40], out[40], sum = 0, all = 0;
        int n = 1 + (int)rng_below(&r, 40);
        int64_t total = (int64_t)rng_below(&r, 1 << 30);
        for (int i = 0; i < n; i++)
            all += weights[i] = round % 7 ? (int64_t)rng_below(&r, 1 << 20) : 0;
        energy_split(total, weights, n, out);
        for (int i = 0; i < n; i++) {
            double share = (double)total * (all ? (double)weights[i] / (double)all : 1.0 / n);
            CHECK(fabs((double)out[i] - share) <= 1);
            sum += out[i];
        }
        CHECK(sum == total);
    }
}

int main(void)
{
    RUN(counters_are_summed_and_wrap);
    RUN(without_counters_it_is_modelled);
    RUN(half_a_machine_is_no_measurement);
    RUN(parts_sum_up);
    DONE();
}
