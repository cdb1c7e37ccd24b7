/* Calls of the library that must not fail. The program has `err`, the error that they fill in. */
#ifndef TEST_SUPPORT_OK_H
#define TEST_SUPPORT_OK_H
#include "support/test.h"

#define ok(call)                                            \
    do {                                                    \
        int64_t ok_rc = (call);                             \
        if (ok_rc < 0) fail_msg("%s: %s", #call, err.text); \
    } while (0)

#endif
