/* Asking the caller whether to stop: the callback should_stop of a public struct of options. */
#ifndef MS_BASE_STOP_STOP_H
#define MS_BASE_STOP_STOP_H
#include "base/status.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    int (*should_stop)(void *user); /* NULL: never */
    void *user;
} ms_stop;

/* Steps of a loop after which the caller is asked again. Each takes a microsecond at most. */
enum { MS_STOP_STEPS = 4096 };

static inline bool ms_stop_is_asked(const ms_stop *stop) {
    return stop && stop->should_stop && stop->should_stop(stop->user) != 0;
}
/* -MSIM_E_STOPPED with "WHAT: stopped by the caller" when the caller asks for it. stop may be
 * NULL. */
static inline int ms_stop_check(const ms_stop *stop, const char *what, msim_error *err) {
    return ms_stop_is_asked(stop) ? ms_fail(err, MSIM_E_STOPPED, "%s: stopped by the caller", what)
                                  : MSIM_OK;
}
/* The same at every MS_STOP_STEPS-th step of a loop. */
static inline int ms_stop_check_at(const ms_stop *stop, size_t step, const char *what,
                                   msim_error *err) {
    return step % MS_STOP_STEPS ? MSIM_OK : ms_stop_check(stop, what, err);
}

#endif
