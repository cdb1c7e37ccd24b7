/* Writes and attaches the codes of a corpus's parts (include/midisim.h, Codes; codes/codes.h). The
 * threads live as long as the call. */
#include "corpus/corpus.h"
#include <inttypes.h>
#include <unistd.h>

static int check_part(const msim_corpus *corpus, int64_t part, msim_error *err) {
    int64_t parts = msim_corpus_parts(corpus);
    return part >= 0 && part < parts
               ? MSIM_OK
               : ms_fail(err, MSIM_E_ARG, "corpus part: expected 0..%" PRId64 ", got %" PRId64,
                         parts - 1, part);
}

static const ms_rows *view_of(const msim_corpus *corpus, int64_t part) {
    size_t n_views;
    return &ms_corpus_views(corpus, &n_views)[part];
}

static int is_same(ms_codes_stamp a, ms_codes_stamp b) {
    return a.bytes == b.bytes && a.time == b.time;
}

/* The codecs that the file already has, if its codes are of these rows; else 0. */
static int codecs_there(const char *codes_path, const ms_rows *view, ms_codes_stamp stamp) {
    ms_codes_file file;
    int codecs = 0;
    if (ms_codes_open(codes_path, view, &file, NULL) < 0) return 0;
    if (is_same(file.stamp, stamp) && ms_codes_check(codes_path, view, &file, 0, NULL, NULL) >= 0)
        codecs = (file.codes.int8 ? MS_CODES_INT8 : 0) | (file.codes.bf16 ? MS_CODES_BF16 : 0);
    ms_codes_close(&file);
    return codecs;
}

int msim_corpus_write_codes(const msim_corpus *corpus, int64_t part, const char *codes_path,
                            int scan, int threads,
                            int (*progress)(void *user, int64_t done, int64_t all), void *user,
                            msim_error *err) {
    ms_pool *pool;
    int rc = check_part(corpus, part, err);
    if (rc < 0) return rc;
    if (scan != MSIM_SCAN_INT8 && scan != MSIM_SCAN_BF16)
        return ms_fail(err, MSIM_E_ARG, "codes: expected scan int8 or bf16, got msim_scan %d",
                       scan);
    const ms_rows *view = view_of(corpus, part);
    ms_codes_stamp stamp = ms_corpus_stamp(corpus, part);
    int codecs = (scan == MSIM_SCAN_INT8 ? MS_CODES_INT8 : MS_CODES_BF16) |
                 codecs_there(codes_path, view, stamp);
    rc = ms_pool_open(threads, &pool, err);
    if (rc < 0) return rc;
    rc = ms_codes_write(codes_path, view, stamp, codecs, pool, (ms_codes_progress){progress, user},
                        err);
    ms_pool_close(pool);
    if (rc >= 0 && (rc = msim_corpus_check(corpus, err)) < 0) (void)unlink(codes_path);
    return rc;
}

int msim_corpus_attach_codes(msim_corpus *corpus, int64_t part, const char *codes_path, int is_full,
                             msim_error *err) {
    ms_codes_file file;
    ms_pool *pool = NULL;
    int rc = check_part(corpus, part, err);
    if (rc < 0) return rc;
    const ms_rows *view = view_of(corpus, part);
    rc = ms_codes_open(codes_path, view, &file, err);
    if (rc < 0) return rc;
    /* a sample may miss what changed */
    is_full = is_full || !is_same(file.stamp, ms_corpus_stamp(corpus, part));
    if (is_full) rc = ms_pool_open(0, &pool, err);
    if (rc >= 0) rc = ms_codes_check(codes_path, view, &file, is_full, pool, err);
    ms_pool_close(pool);
    if (rc >= 0)
        ms_corpus_set_codes(corpus, part, &file);
    else
        ms_codes_close(&file);
    return rc;
}

int msim_corpus_has_codes(const msim_corpus *corpus, int64_t part, int scan) {
    if (check_part(corpus, part, NULL) < 0) return 0;
    const ms_codes *codes = view_of(corpus, part)->codes;
    return codes &&
           ((scan == MSIM_SCAN_INT8 && codes->int8) || (scan == MSIM_SCAN_BF16 && codes->bf16));
}
