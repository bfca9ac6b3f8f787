/* nvml -- joules of NVIDIA GPUs from their own counters, through the driver's library when it is there. The door to it:
 * found at run time, never linked. One thread. */
#ifndef LEDGER_NVML_H
#define LEDGER_NVML_H
#include <stdint.h>

enum { NVML_GPUS_MAX = 64 };

struct nvml;
/* root: "" for the machine's libnvidia-ml.so.1, a folder for root/usr/lib/libnvidia-ml.so.1. NULL: no library, no GPU,
 * or none that counts its energy (before Volta). */
struct nvml *nvml_open(const char *root);
void nvml_close(struct nvml *n);
int nvml_gpus(const struct nvml *n);    /* 0 for NULL */
/* Millijoules of all of them since the last call; a counter that went back or cannot be read adds nothing. */
int64_t nvml_read(struct nvml *n);
#endif
