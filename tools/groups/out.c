/* Where results go: standard output, or a file through the atomic writer. Contract:
 * tools/groups/groups.h. */
#include "common/texts/tsv.h"
#include "groups.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int ms_grouping_out_open(ms_grouping_out *out, const char *path, msim_error *err) {
    *out = (ms_grouping_out){.file = {.fd = -1}, .is_file = path != NULL};
    return path ? ms_out_file_open(&out->file, path, "", 4096, err) : 0;
}

void ms_grouping_put(ms_grouping_out *out, const char *bytes, size_t n) {
    if (out->is_file)
        ms_out_file_put(&out->file, bytes, n);
    else
        (void)ms_cli_write(bytes, n);
}

void ms_grouping_print(ms_grouping_out *out, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0) ms_grouping_put(out, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void ms_grouping_cell(ms_grouping_out *out, const char *text, size_t n) {
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        const char *escape = ms_tsv_escape(text[i]);
        if (!escape) continue;
        ms_grouping_put(out, text + from, i - from);
        ms_grouping_put(out, escape, strlen(escape));
        from = i + 1;
    }
    ms_grouping_put(out, text + from, n - from);
}

int ms_grouping_out_finish(ms_grouping_out *out, msim_error *err) {
    if (out->is_file) return ms_out_file_finish(&out->file, err);
    return ms_cli_flush() < 0 ? ms_fail(err, MSIM_E_IO, "cannot write standard output") : 0;
}

void ms_grouping_out_close(ms_grouping_out *out) {
    if (out->is_file) ms_out_file_close(&out->file);
}
