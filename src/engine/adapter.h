/* adapter -- the front's word that a LoRA adapter comes to the running model, or leaves it. */
#ifndef ENGINE_ADAPTER_H
#define ENGINE_ADAPTER_H
#include "api/api.h"
#include "wire/frame.h"

/* f: FRAME_ADAPTER; fd: the descriptor that came with it or -1; it stays the caller's. The link's reader calls it. */
struct runtime;
bool engine_adapter_change(struct runtime *r, const struct frame *f, int fd, struct api_error *error);
#endif
