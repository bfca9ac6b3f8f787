/* arch -- what every arch_<name>.c includes: the parts, the keys and the blocks of a layer. */
#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H
#include "model/keys.h"
#include "model/parts.h"
#include "model/step.h"

#include <stddef.h>

#define ARCH(name) extern const struct model_arch arch_##name;
#include "model/arch.def"
#undef ARCH
#endif
