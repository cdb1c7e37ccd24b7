/* Status codes and error text: include/midisim.h, R1. No state; any thread may call this. */
#include "base/status.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *msim_version(void) { return MSIM_VERSION; }

/* An error is one line wherever its parts came from: names and tensor keys are somebody else's
 * bytes. */
static void keep_one_line(char *text) {
    for (unsigned char *p = (unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p == 0x7f) *p = '?';
}

int ms_fail(msim_error *err, int code, const char *format, ...) {
    if (err) {
        va_list ap;
        va_start(ap, format);
        vsnprintf(err->text, sizeof err->text, format, ap);
        va_end(ap);
        keep_one_line(err->text);
        err->code = code;
    }
    return -code;
}

int ms_fail_errno(msim_error *err, int errno_value, const char *format, ...) {
    int code = errno_value == ENOMEM ? MSIM_E_MEMORY : MSIM_E_IO;
    if (err) {
        va_list ap;
        va_start(ap, format);
        int n = vsnprintf(err->text, sizeof err->text, format, ap);
        va_end(ap);
        if (n < 0) n = 0;
        if ((size_t)n < sizeof err->text)
            snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", strerror(errno_value));
        keep_one_line(err->text);
        err->code = code;
    }
    return -code;
}
