/* Status codes with one line of text, written where the failure is seen. docs: include/midisim.h,
 * R1. */
#ifndef MS_BASE_STATUS_H
#define MS_BASE_STATUS_H
#include "midisim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fill err (may be NULL) and return -code. The line says what, where, expected, got; newlines and
 * control bytes in the formatted text become '?'. */
int ms_fail(msim_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As ms_fail for a failed system call: appends strerror(errno_value). ENOMEM becomes MSIM_E_MEMORY,
 * else MSIM_E_IO. */
int ms_fail_errno(msim_error *err, int errno_value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif

#endif
