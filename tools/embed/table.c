/* The table beside a corpus. Contract: tools/embed/table.h. docs/FORMATS.md has its columns. */
#define _GNU_SOURCE
#include "table.h"
#include "base/file.h"
#include "common/texts/tsv.h"
#include <stdio.h>
#include <string.h>

static void put(ms_out_file *f, const char *text) { ms_out_file_put(f, text, strlen(text)); }

static void put_escaped(ms_out_file *f, const char *text) {
    for (size_t from = 0;;) {
        size_t to = from;
        while (text[to] && !ms_tsv_escape(text[to])) to++;
        ms_out_file_put(f, text + from, to - from);
        if (!text[to]) return;
        put(f, ms_tsv_escape(text[to]));
        from = to + 1;
    }
}

/* A tab, and a number; "-" when it is not known. */
static void put_count(ms_out_file *f, int64_t n) {
    char text[32];
    snprintf(text, sizeof text, "\t%lld", (long long)n);
    put(f, n < 0 ? "\t-" : text);
}

static void put_piece(ms_out_file *f, const msim_job_piece *piece) {
    char seconds[48];
    put_escaped(f, piece->path);
    put_count(f, piece->tokens);
    put(f, piece->is_cut ? "\tcut" : "\twhole");
    snprintf(seconds, sizeof seconds, "\t%.3f", piece->seconds);
    put(f, piece->seconds < 0 ? "\t-" : seconds);
    put_count(f, piece->notes);
    put(f, "\t\t\n");
}

static void put_skip(ms_out_file *f, const msim_skip *skip) {
    put_escaped(f, skip->path);
    put(f, "\t-\t-\t-\t-\t");
    put(f, msim_skip_reason_name(skip->reason));
    put(f, "\t");
    put_escaped(f, skip->detail);
    put(f, "\n");
}

static int put_all(ms_out_file *f, const msim_job *job) {
    msim_job_stats stats = {.size = sizeof stats};
    msim_job_piece piece = {.size = sizeof piece};
    msim_skip skip = {.size = sizeof skip};
    int rc = msim_job_get_stats(job, &stats);
    put(f, "path\ttokens\tcut\tseconds\tnotes\tskipped\tdetail\n");
    for (int64_t i = 0; i < stats.pieces && rc >= 0; i++) {
        rc = msim_job_get_piece(job, i, &piece);
        if (rc >= 0) put_piece(f, &piece);
    }
    for (int64_t i = 0; i < stats.skips && rc >= 0; i++) {
        rc = msim_job_get_skip(job, i, &skip);
        if (rc >= 0) put_skip(f, &skip);
    }
    return rc;
}

int ms_embed_table_write(const char *path, const msim_job *job, msim_error *err) {
    ms_out_file f = {0};
    int rc = ms_out_file_open(&f, path, "", 0, err);
    if (rc >= 0 && (rc = put_all(&f, job)) < 0)
        (void)ms_fail(err, -rc, "cannot write: %s: the job has no list of its inputs", path);
    if (rc >= 0) rc = ms_out_file_finish(&f, err);
    ms_out_file_close(&f);
    return rc;
}
