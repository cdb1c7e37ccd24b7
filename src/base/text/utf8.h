/* UTF-8, and the two ways in which NumPy's files hold names: UTF-32 ('<U' fields) and bytes.
 *
 * Inside the library a name is bytes, as file systems have them: UTF-8 mostly, anything at worst.
 * Where it must become code points, bytes that are not UTF-8 stand as U+DC80..U+DCFF, as Python's
 * surrogateescape has it, in both directions. Nothing here takes memory. docs/FORMATS.md,
 * Corpora. */
#ifndef MS_BASE_TEXT_UTF8_H
#define MS_BASE_TEXT_UTF8_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The code point that valid UTF-8 at s [n] begins with: returns its bytes (1..4); 0, with *point
 * untouched, when none does. Shortest forms only, no surrogates, nothing beyond U+10FFFF: what
 * Python's strict decoder accepts. */
size_t ms_utf8_next(const char *s, size_t n, uint32_t *point);
bool ms_utf8_is_valid(const char *s, size_t n);
/* The same but with surrogates, each as three bytes: what Python's "surrogatepass" decodes. */
bool ms_utf8_is_surrogatepass(const char *s, size_t n);
/* Write a code point as UTF-8 (surrogates as three bytes, beyond U+10FFFF as U+FFFD) to dst [4];
 * returns its bytes. */
size_t ms_utf8_put(char *dst, uint32_t point);

/* False for what text from a file must not bring to a terminal: control characters (C0, DEL, C1),
 * separators of lines, and the marks that turn the direction of writing (Unicode 15, UAX #9). */
bool ms_utf8_is_safe(uint32_t point);
/* Put '?' for every character that is not safe and every byte that is not UTF-8, in place; newlines
 * and tabs stay with keeps_lines. Returns the new length, at most n. */
size_t ms_utf8_make_safe(char *text, size_t n, bool keeps_lines);

/* The code point at s [n >= 1] and the bytes it takes; a byte that starts no valid UTF-8 gives
 * 0xDC00 + it, step 1. */
uint32_t ms_utf8_get_escaped(const char *s, size_t n, size_t *step);
/* Code points that a name takes in a '<U' field. */
size_t ms_utf8_chars(const char *name, size_t n_bytes);
/* Fill field [n_chars x 4 bytes] with a name of at most n_chars code points, padded with zeros. */
void ms_utf8_to_utf32(const char *name, size_t n_bytes, unsigned char *field, size_t n_chars);

/* All of the following give a name in buf: NUL-terminated and cut to cap - 1 bytes (cap 0: nothing
 * is written). They return the full length. */

/* Of a '<U' or 'S' field, without its trailing zeros. */
size_t ms_utf8_of_utf32(const unsigned char *field, size_t n_chars, char *buf, size_t cap);
size_t ms_utf8_of_bytes(const unsigned char *field, size_t n_bytes, char *buf, size_t cap);
/* Of a pickled text: UTF-8 in which U+DC80..U+DCFF, as three bytes, stand for bytes. */
size_t ms_utf8_of_text(const unsigned char *text, size_t n_bytes, char *buf, size_t cap);
/* Bytes as they are. */
size_t ms_utf8_copy(const char *text, size_t n_bytes, char *buf, size_t cap);

#endif
