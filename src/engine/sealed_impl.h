/* sealed_impl -- what sealed.c and vault.c share. Nobody else includes this. */
#ifndef ENGINE_SEALED_IMPL_H
#define ENGINE_SEALED_IMPL_H
#include "engine/sealed.h"
#include "trust/gate.h"
#include "trust/ohttp.h"
#include "trust/policy.h"
#include "trust/receipt.h"

struct sealed {
    struct ohttp x;
    struct ohttp_stream stream;      /* of the response, once begun */
    struct buf plain;                /* the opened request */
    struct bhttp_message message;    /* points into plain */
    char policy[HASH_TEXT_MAX];      /* the note of the policy it was decided by; "" none */
    char path[128], tenant[RECEIPT_NAME_MAX + 1], rule[POLICY_NAME_MAX + 1], data_class[POLICY_NAME_MAX + 1];
    bool allow, is_signed;
    uint8_t reqsig[HASH_BYTES], request[HASH_BYTES];
    struct commit response;
    int status;
    char type[128];                  /* of the inner response */
    bool events, flows, begun;
    struct buf held;                 /* what leaves with the receipt: the last event, or all of it */
};
#endif
