/* pretok_impl -- the two stages that are no regular expression: counting digits from the right by one would
 * look ahead over the whole number for every digit. */
#ifndef TEXT_PRETOK_IMPL_H
#define TEXT_PRETOK_IMPL_H
#include "text/pretok.h"

/* Pieces end after each group of three digits (Unicode N), counted from the right of the number; what stands
 * before a number belongs to its first piece. */
#define PRETOK_DIGITS "@digits"
/* Pieces begin where a multiple of three ASCII digits is left of a number. */
#define PRETOK_THOUSANDS "@thousands"
#endif
