/* Cells of a table of tab-separated values. */
#ifndef MS_TOOLS_COMMON_TEXTS_TSV_H
#define MS_TOOLS_COMMON_TEXTS_TSV_H
#include <stddef.h>

/* What stands for a byte that would end a cell or a line, or that begins such an escape; NULL: the
 * byte itself. */
static inline const char *ms_tsv_escape(char byte) {
    switch (byte) {
    case '\t': return "\\t";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\\': return "\\\\";
    default: return NULL;
    }
}

/* Write text [n] to standard output as a cell. Returns as ms_cli_write does. */
int ms_tsv_write(const char *text, size_t n);

#endif
