/* Numbers as text that programs read: with a point, whatever locale the host program has set. */
#ifndef MS_BASE_TEXT_NUMBER_H
#define MS_BASE_TEXT_NUMBER_H

enum { MS_NUMBER_BYTES = 32 };

/* `value`, finite, as %.{digits}g, of at most 17 digits. Returns out. */
const char *ms_number_print(double value, int digits, char out[MS_NUMBER_BYTES]);
/* strtod of the C locale: 0 and *end == text when there is no number. */
double ms_number_read(const char *text, char **end);

#endif
