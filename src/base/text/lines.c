/* Lines of a text file: see base/text/lines.h. */
#define _GNU_SOURCE
#include "base/text/lines.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BOM "\xef\xbb\xbf"

size_t ms_lines_skip_bom(const char *text, size_t n) {
    return n >= 3 && memcmp(text, BOM, 3) == 0 ? 3 : 0;
}

int ms_lines_open(ms_lines *lines, const char *path, char separator, msim_error *err) {
    *lines = (ms_lines){.path = path, .separator = separator, .is_first = true};
    lines->file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    return lines->file ? 0 : ms_fail_errno(err, errno, "cannot read: %.300s", path);
}

int ms_lines_next(ms_lines *lines, const char **line, size_t *n, msim_error *err) {
    size_t skip = 0;
    errno = 0;
    ssize_t got = getdelim(&lines->line, &lines->cap, lines->separator, lines->file);
    if (got <= 0) {
        if (feof(lines->file) && !ferror(lines->file)) return 0;
        return ms_fail_errno(err, errno ? errno : EIO, "cannot read: %.300s", lines->path);
    }
    if (lines->line[got - 1] == lines->separator) lines->line[--got] = 0;
    if (lines->separator == '\n') {
        bool has_cr = got > 0 && lines->line[got - 1] == '\r';
        if (lines->is_first) {
            skip = ms_lines_skip_bom(lines->line, (size_t)got);
            lines->has_cr = has_cr;
        }
        if (lines->has_cr && has_cr) lines->line[--got] = 0;
    }
    lines->is_first = false;
    *line = lines->line + skip;
    *n = (size_t)got - skip;
    return 1;
}

void ms_lines_close(ms_lines *lines) {
    if (lines->file && lines->file != stdin) fclose(lines->file);
    free(lines->line);
    *lines = (ms_lines){.path = NULL};
}
