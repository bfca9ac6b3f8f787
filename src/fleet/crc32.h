/* crc32 -- CRC-32 as zlib and Ethernet have it (IEEE 802.3, reflected): was a body put together as it was cut apart.
 *
 * Not against an adversary: who may publish to a worker may also compute a CRC. About 1 GB/s. */
#ifndef FLEET_CRC32_H
#define FLEET_CRC32_H
#include <stddef.h>
#include <stdint.h>

/* crc: 0 at first, then what came back: parts give the same as the whole. */
uint32_t fleet_crc32(uint32_t crc, const void *data, size_t n);
#endif
