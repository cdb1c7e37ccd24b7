/* Contract: base/text/number.h. */
#define _GNU_SOURCE /* strtod_l */
#include "base/text/number.h"
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is neither a digit nor part of an exponent is the locale's point, of one byte or more. */
const char *ms_number_print(double value, int digits, char out[MS_NUMBER_BYTES]) {
    static const char others[] = "0123456789+-e";
    snprintf(out, MS_NUMBER_BYTES, "%.*g", digits, value);
    char *point = out + strspn(out, others);
    if (!*point) return out;
    char *rest = point + strcspn(point, others);
    *point++ = '.';
    memmove(point, rest, strlen(rest) + 1);
    return out;
}

double ms_number_read(const char *text, char **end) {
    locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    *end = (char *)text;
    if (!plain) return 0;
    const double value = strtod_l(text, end, plain);
    freelocale(plain);
    return value;
}
