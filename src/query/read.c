/* One MIDI file into memory: query/read.h. */
#include "query/read.h"
#include "base/status.h"

/* The status for a reason to skip a file. */
static int status_of(int reason) {
    switch (reason) {
    case MSIM_SKIP_TOO_LARGE: return MSIM_E_LIMIT;
    case MSIM_SKIP_BAD_GZIP: return MSIM_E_FORMAT;
    default: return MSIM_E_IO;
    }
}

int ms_query_read(const char *path, ms_files_buffer *to, msim_error *err) {
    char detail[MS_FILES_DETAIL];
    int reason = ms_files_read_path(path, to, detail, err);
    if (reason <= 0) return reason;
    return ms_fail(err, status_of(reason), "cannot read: %.200s: %s", path, detail);
}
