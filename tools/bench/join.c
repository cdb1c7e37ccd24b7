/* All pairs of rows that are alike: of a corpus on disk, or of made rows. How fast pairs are
 * compared, beside the limit of 8-bit products, and how long a corpus of the size of the published
 * one would take at that rate. Contract: tools/bench/bench.h. */
#include "bench.h"
#include <math.h>
#include <unistd.h>

#define PUBLISHED_ROWS 3480123.0 /* of the largest published corpus */

static int count_pair(void *user, int64_t a, int64_t b, double score) {
    (void)user;
    (void)a;
    (void)b;
    (void)score;
    return ms_cli_stopped();
}

/* Operations per second that products of the level could do, of 8-bit codes: tiles take twice as
 * many of these as of bf16. NaN: not known. < 0 in *rc: a thread could not be started. */
static double limit_of(const ms_bench_settings *s, const msim_options *o, int *rc) {
    int isa = o->isa ? o->isa : msim_isa_best();
    bool is_tiles = isa == MSIM_ISA_AMXBF16;
    ms_bench_figure f;
    if (s->is_without_roof || isa < MSIM_ISA_AVX512 || o->device == MSIM_DEVICE_CUDA) return NAN;
    *rc = ms_bench_limit(is_tiles ? MS_BENCH_DOT_TILES : MS_BENCH_DOT_INT8, o->threads, s, &f);
    return *rc > 0 ? f.best * (is_tiles ? 2 : 1) : NAN;
}

static void report(const ms_bench_settings *s, const msim_options *o, const msim_corpus_info *info,
                   const msim_join_stats *stats, double *seconds, double limit) {
    ms_bench_figure f = ms_bench_times(seconds, (size_t)s->rounds);
    double pairs = (double)stats->pairs, published = PUBLISHED_ROWS * (PUBLISHED_ROWS - 1) / 2;
    ms_bench_result r = {.bench = "join",
                         .threads = o->threads,
                         .device = o->device == MSIM_DEVICE_CUDA ? "cuda" : "cpu",
                         .level = msim_isa_name(o->isa ? o->isa : msim_isa_best())};
    snprintf(r.name, sizeof r.name, "%lldx%lld s%g", (long long)info->rows, (long long)info->dim,
             s->threshold);
    ms_bench_add(&r, "seconds", "seconds", f);
    ms_bench_add(&r, "pairs_per_s", "pairs/s", ms_bench_rate(pairs, f));
    ms_bench_add(&r, "components", stats->is_mapped ? "components of a map" : "components",
                 ms_bench_once((double)stats->components));
    ms_bench_add(&r, "roof_share", "of roof",
                 ms_bench_once(2 * pairs * (double)stats->components / f.best / limit));
    ms_bench_add(&r, "scored", "in double", ms_bench_once((double)stats->scored));
    ms_bench_add(&r, "hits", "hits", ms_bench_once((double)stats->hits));
    ms_bench_add(&r, "prepare_seconds", "to prepare", ms_bench_once(stats->prepare_seconds));
    ms_bench_add(&r, "published_hours", "hours for 3,480,123 rows",
                 ms_bench_once(published / pairs * f.best / 3600));
    ms_bench_report(&r);
}

/* One round to warm up, and then those that count. */
static int run_rounds(const ms_bench_settings *s, const msim_options *options,
                      const msim_corpus *corpus, msim_error *err) {
    double seconds[MS_BENCH_MAX_ROUNDS];
    msim_join_options o = msim_join_options_default();
    msim_join_stats stats = {.size = sizeof stats};
    msim_corpus_info info = {.size = sizeof info};
    o.options = options;
    int64_t rc = msim_corpus_get_info(corpus, &info);
    for (int64_t round = -1; round < s->rounds && rc >= 0 && !ms_cli_stopped(); round++) {
        rc = msim_join(corpus, NULL, s->threshold, &o, count_pair, NULL, &stats, err);
        if (round >= 0) seconds[round] = stats.join_seconds;
    }
    if (rc < 0 || ms_cli_stopped()) return (int)rc;
    int limited = 0;
    double limit = limit_of(s, options, &limited);
    if (limited < 0) return limited;
    report(s, options, &info, &stats, seconds, limit);
    return MSIM_OK;
}

int ms_bench_join(const ms_bench_settings *s) {
    msim_options options = ms_cli_library_options(&s->common);
    char made[64];
    msim_corpus *corpus = NULL;
    msim_error err = {.code = 0};
    int fd = -1;
    const char *path = s->common.operands.n ? s->common.operands.items[0] : made;
    if (path == made && (fd = ms_bench_make_corpus(s, made, sizeof made)) < 0) return -MSIM_E_IO;
    int rc = msim_corpus_open(path, NULL, &corpus, &err);
    if (rc >= 0) rc = run_rounds(s, &options, corpus, &err);
    if (rc < 0 && err.code) ms_cli_error("%s", err.text);
    msim_corpus_close(corpus);
    if (fd >= 0) close(fd);
    return ms_cli_as_failure(rc);
}
