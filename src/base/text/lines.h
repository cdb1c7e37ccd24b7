/* Lines of a text file that a user wrote: lists of paths, names, token ids. Editors on Windows
 * begin a file with a byte order mark and end lines with CR LF. Neither belongs to a line: the mark
 * is dropped, and when the first line ends in CR LF, so is the CR at the end of every line.
 * docs/FORMATS.md, Lists. */
#ifndef MS_BASE_TEXT_LINES_H
#define MS_BASE_TEXT_LINES_H
#include "base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Bytes of the UTF-8 byte order mark that text [n] begins with: 3 or 0. */
size_t ms_lines_skip_bom(const char *text, size_t n);

typedef struct {
    FILE *file;       /* owned, unless it is stdin */
    const char *path; /* borrowed: for messages */
    char *line;       /* owned: the line that was read last */
    size_t cap;
    char separator;
    bool is_first, has_cr;
} ms_lines;

/* Open a list; "-" is standard input. With separator NUL the bytes between separators are taken as
 * they are. The struct must be closed afterwards, also when this fails. */
int ms_lines_open(ms_lines *lines, const char *path, char separator, msim_error *err);
/* The next line without its end: 1, with *line [*n], NUL-terminated, borrowed until the next call;
 * 0 behind the last; < 0 when reading failed. */
int ms_lines_next(ms_lines *lines, const char **line, size_t *n, msim_error *err);
void ms_lines_close(ms_lines *lines);

#endif
