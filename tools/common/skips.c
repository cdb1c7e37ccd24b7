/* The account of files that gave nothing: counted by reason, the first failures said one line each,
 * all of them in the TSV of --skipped. Contract: tools/common/skips.h. */
#define _GNU_SOURCE
#include "skips.h"
#include "base/mem.h"
#include "cli.h"
#include "common/texts/output.h"
#include "common/texts/tsv.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_FAILURES 20

struct ms_cli_skips {
    FILE *tsv;            /* owned, or NULL */
    const char *tsv_path; /* borrowed, or NULL */
    int64_t n_failures, counts[MSIM_SKIP_COUNT];
};

int ms_cli_skips_open(const char *tsv_path, const char *list, ms_cli_skips **out, msim_error *err) {
    *out = NULL;
    const int rc = ms_cli_check_output(tsv_path, list, err);
    if (rc < 0) return rc;
    ms_cli_skips *skips = ms_alloc(1, sizeof *skips, "skipped files", err);
    if (!skips) return -MSIM_E_MEMORY;
    if (tsv_path && !(skips->tsv = fopen(tsv_path, "we"))) {
        ms_free(skips);
        return ms_fail(err, MSIM_E_IO, "cannot write: %s: %s", tsv_path, strerror(errno));
    }
    skips->tsv_path = tsv_path;
    *out = skips;
    return 0;
}

static void write_cell(FILE *file, const char *text, char end) {
    for (; *text; text++) {
        const char *escape = ms_tsv_escape(*text);
        if (escape)
            fputs(escape, file);
        else
            putc(*text, file);
    }
    putc(end, file);
}

/* What the user may have meant by a file that is no MIDI file; NULL: nothing known. */
static const char *hint_for(const char *path) {
    unsigned char start[512];
    FILE *file = fopen(path, "re");
    size_t n = file ? fread(start, 1, sizeof start, file) : 0;
    if (file) fclose(file);
    switch (msim_file_kind(start, n)) {
    case MSIM_KIND_NPY:
        return "midisim-search takes a corpus with -c, vectors with --query-vectors";
    case MSIM_KIND_TEXT: return "a list of paths is given with --files-from";
    case MSIM_KIND_TOKEN_LINES: return "midisim-embed takes token lines with --from-tokens";
    case MSIM_KIND_ZIP:
    case MSIM_KIND_ARCHIVE: return "unpack it and give the folder";
    case MSIM_KIND_MUS: return "convert it to MIDI";
    default: return NULL;
    }
}

void ms_cli_skips_add(ms_cli_skips *skips, const char *path, int reason, const char *detail,
                      bool is_failure) {
    skips->counts[reason]++;
    if (skips->tsv) {
        write_cell(skips->tsv, path, '\t');
        write_cell(skips->tsv, msim_skip_reason_name(reason), '\t');
        write_cell(skips->tsv, detail ? detail : "", '\n');
    }
    if (!is_failure) return;
    if (++skips->n_failures > SHOWN_FAILURES) return;
    const char *hint = reason == MSIM_SKIP_NOT_MIDI ? hint_for(path) : NULL;
    ms_cli_error("%s: %s%s%s%s%s", msim_skip_reason_name(reason), path,
                 detail && *detail ? ": " : "", detail ? detail : "", hint ? "; " : "",
                 hint ? hint : "");
}

int64_t ms_cli_skips_total(const ms_cli_skips *skips) {
    int64_t n = 0;
    for (int i = 0; i < MSIM_SKIP_COUNT; i++) n += skips->counts[i];
    return n;
}

int64_t ms_cli_skips_failures(const ms_cli_skips *skips) { return skips->n_failures; }

void ms_cli_skips_describe(const ms_cli_skips *skips, char *text, size_t cap) {
    size_t at = 0;
    if (cap) *text = 0;
    for (int i = 0; i < MSIM_SKIP_COUNT; i++) {
        char count[32];
        if (!skips->counts[i] || at >= cap) continue;
        at += (size_t)snprintf(text + at, cap - at, "%s%s %s", at ? ", " : "",
                               msim_skip_reason_name(i), ms_cli_count(count, skips->counts[i]));
    }
}

int ms_cli_skips_close(ms_cli_skips *skips, msim_error *err) {
    int rc = 0;
    if (!skips) return 0;
    if (skips->n_failures > SHOWN_FAILURES) {
        char more[32];
        ms_cli_error("and %s more files that could not be used: %s",
                     ms_cli_count(more, skips->n_failures - SHOWN_FAILURES),
                     skips->tsv_path ? skips->tsv_path : "--skipped FILE lists them");
    }
    if (skips->tsv) {
        bool was_bad = ferror(skips->tsv) != 0;
        errno = 0;
        if (fclose(skips->tsv) != 0 || was_bad)
            rc = ms_fail(err, MSIM_E_IO, "cannot write: %s: %s", skips->tsv_path,
                         strerror(errno ? errno : EIO));
    }
    ms_free(skips);
    return rc;
}
