/* Public structs begin with their size, as the program that uses them was compiled: so a struct can
 * get more fields without breaking programs that know fewer. The library works on its own full
 * struct and copies what both sides know. (The rule of Linux's copy_struct_from_user.) */
#ifndef MS_BASE_SIZED_H
#define MS_BASE_SIZED_H
#include "base/status.h"

/* Copy the caller's struct over `to`, which holds the defaults: fields that the caller does not
 * know keep them. Refused: a size of zero (the struct was never initialised), and fields that this
 * library does not know and that are not zero. `what` names the struct in the error. */
int ms_sized_in(void *to, size_t to_bytes, const void *from, const char *what, msim_error *err);
/* Copy a full struct into the caller's, whose size stays as it is. Refused: a size of zero. */
int ms_sized_out(void *to, const void *from, size_t from_bytes);

#endif
