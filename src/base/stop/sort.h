/* qsort for arrays that may be so long that whoever waits for the end wants to stop it. */
#ifndef MS_BASE_STOP_SORT_H
#define MS_BASE_STOP_SORT_H
#include "base/mem.h"
#include "base/stop/stop.h"

/* Sort items [n], in place. Short arrays take no memory and are not stopped. -MSIM_E_STOPPED: the
 * items are all there, in any order. */
int ms_sort(void *items, size_t n, size_t item_bytes, int (*compare)(const void *, const void *),
            const ms_stop *stop, ms_arena *arena, const char *what, msim_error *err);

#endif
