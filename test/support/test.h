/* What every test program includes: cmocka with all that it wants included before it. Last among a
 * file's own includes, since cmocka has macros of short names. */
#ifndef TEST_SUPPORT_TEST_H
#define TEST_SUPPORT_TEST_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#endif
