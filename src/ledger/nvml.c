/* nvml -- see nvml.h. Five functions of NVML's C interface, which is stable; nvmlReturn_t 0 is success. */
#include "ledger/nvml.h"

#include "base/mem.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

struct nvml {
    void *library;
    int (*shut_down)(void);
    int (*energy)(void *device, unsigned long long *mj); /* since the driver was loaded */
    void *gpus[NVML_GPUS_MAX];
    unsigned long long last[NVML_GPUS_MAX];
    int count;
};

/* A function of the library; object and function pointers differ in C, so the bytes are copied. */
static int find(void *library, const char *name, void *out)
{
    void *at = dlsym(library, name);
    memcpy(out, &at, sizeof at);
    return at != NULL;
}

static void find_gpus(struct nvml *n, int (*handle)(unsigned, void **), unsigned count)
{
    for (unsigned i = 0; i < count && n->count < NVML_GPUS_MAX; i++) {
        void *gpu = NULL;
        if (!handle(i, &gpu) && !n->energy(gpu, &n->last[n->count]))
            n->gpus[n->count++] = gpu;
    }
}

struct nvml *nvml_open(const char *root)
{
    char path[512] = "libnvidia-ml.so.1";
    int (*init)(void), (*get_count)(unsigned *), (*handle)(unsigned, void **);
    unsigned count = 0;
    if (*root)
        snprintf(path, sizeof path, "%s/usr/lib/libnvidia-ml.so.1", root);
    struct nvml *n = MEM_NEW(struct nvml);
    n->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    int whole = n->library && find(n->library, "nvmlInit_v2", &init) &&
                find(n->library, "nvmlShutdown", &n->shut_down) &&
                find(n->library, "nvmlDeviceGetCount_v2", &get_count) &&
                find(n->library, "nvmlDeviceGetHandleByIndex_v2", &handle) &&
                find(n->library, "nvmlDeviceGetTotalEnergyConsumption", &n->energy);
    if (!whole || init()) {
        n->shut_down = NULL;
        nvml_close(n);
        return NULL;
    }
    if (!get_count(&count))
        find_gpus(n, handle, count);
    if (n->count)
        return n;
    nvml_close(n);
    return NULL;
}

void nvml_close(struct nvml *n)
{
    if (!n)
        return;
    if (n->shut_down)
        n->shut_down();
    if (n->library)
        dlclose(n->library);
    mem_free(n);
}

int nvml_gpus(const struct nvml *n)
{
    return n ? n->count : 0;
}

int64_t nvml_read(struct nvml *n)
{
    int64_t sum = 0;
    for (int i = 0; i < nvml_gpus(n); i++) {
        unsigned long long now;
        if (n->energy(n->gpus[i], &now))
            continue;
        if (now > n->last[i] && now - n->last[i] < 1ull << 50)
            sum += (int64_t)(now - n->last[i]);
        n->last[i] = now;
    }
    return sum;
}
