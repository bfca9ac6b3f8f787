/* rx_impl -- the inside of struct rx, for rx.c and rx_dfa.c alone. */
#ifndef TEXT_RX_IMPL_H
#define TEXT_RX_IMPL_H
#include "text/rx.h"

enum rx_kind { RX_OR_NODE, RX_AND_NODE, RX_NOT_NODE, RX_CAT_NODE, RX_REPEAT_NODE, RX_SET_NODE, RX_EPS_NODE };

struct rx_node {
    enum rx_kind kind;
    bool nullable;
    uint32_t a, b;     /* operands; OR, AND: first kid and count; SET: set number in a */
    uint32_t min, max; /* REPEAT */
};
struct rx_bytes {
    uint64_t w[4];
};
struct rx {
    struct rx_node *node; /* id 0 unused */
    uint64_t *hash;
    uint32_t count, cap;
    uint32_t *slot;
    uint64_t slots;
    rx_id *kids;          /* of OR and AND nodes, sorted by id */
    uint32_t kid_count, kid_cap;
    struct rx_bytes *set;
    uint32_t set_count, set_cap;
    rx_id any_char;
    uint64_t work; /* derivatives taken */
    bool failed;
};
rx_id rx_set(struct rx *x, const struct rx_bytes *set);
#endif
