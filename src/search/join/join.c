/* All pairs of rows whose score reaches a threshold. Codes leave most pairs out by proof
 * (join/space.h), and the others are scored in double by the operations of every search. So the
 * pairs and their scores are those of scoring everything, at every level and for any number of
 * threads. */
#include "search/join/join.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sized.h"
#include "search/join/ranks.h"
#include "search/score.h"
#include <math.h>

#define HITS_BYTES ((int64_t)256 << 20)
enum { FOUND_ITEM = 4096 }; /* pairs of a device that a worker takes */

typedef struct {
    uint32_t *pairs;  /* owned: [MS_JOIN_LEFT * MS_JOIN_RIGHT] */
    void *scratch;    /* owned: of the kernel */
    float *left;      /* owned: [MS_JOIN_LEFT][dim] rows on the left, widened when first needed */
    uint64_t is_wide; /* a bit for each of them */
    int64_t n_scored;
} join_worker;

typedef struct {
    const ms_join_setup *setup;
    ms_join_side sides[2];
    const ms_join_side *a, *b; /* borrowed: of sides */
    ms_join_space space;       /* owned; components 0: all pairs are scored */
    ms_join_shape shape;
    int64_t first, end; /* rows of a that this call joins */
    ms_join_strip strip;
    void *device;        /* owned: the state of setup->device; NULL: it is not used */
    int64_t found_right; /* of the list that is scored */
    uint32_t *found;     /* owned: [MS_JOIN_LIST] its pairs, sorted; NULL without a device */
    size_t n_found;
    ms_join_hits hits;
    ms_join_log log; /* of this rank */
    msim_join_sink sink;
    void *user;
    int has_ended;        /* by the sink */
    join_worker *workers; /* owned */
    size_t n_workers;
    _Atomic int is_stopped;
} join;

/* ---- Options ---- */

void ms_join_options_set(msim_join_options *options) {
    *options =
        (msim_join_options){.size = sizeof *options, .memory_bytes = HITS_BYTES, .folder = "/tmp"};
}

int ms_join_options_check(const msim_join_options *o, double threshold, msim_error *err) {
    if (isnan(threshold))
        return ms_fail(err, MSIM_E_ARG, "join: threshold: expected a number, got NaN");
    if (o->scan != MSIM_SCAN_AUTO && o->scan != MSIM_SCAN_F64 && o->scan != MSIM_SCAN_INT8)
        return ms_fail(err, MSIM_E_ARG, "join: scan: expected auto, f64 or int8, got %s",
                       msim_scan_name(o->scan) ? msim_scan_name(o->scan) : "an unknown value");
    if (o->n_shards < 0 || (o->n_shards ? o->shard < 1 || o->shard > o->n_shards : o->shard != 0))
        return ms_fail(err, MSIM_E_ARG, "join: shard: expected 1..%lld, got %lld",
                       (long long)o->n_shards, (long long)o->shard);
    if (o->memory_bytes < 0)
        return ms_fail(err, MSIM_E_ARG, "join: memory: expected 0 bytes or more, got %lld",
                       (long long)o->memory_bytes);
    return MSIM_OK;
}

/* ---- One block ---- */

/* All pairs, for a join without codes. */
static size_t all_pairs(uint32_t *out, size_t n_left, size_t n_right) {
    size_t n = 0;
    for (size_t i = 0; i < n_left; i++)
        for (size_t k = 0; k < n_right; k++) out[n++] = (uint32_t)(i << 16 | k);
    return n;
}

static const float *left_row(const join *j, join_worker *w, int64_t left, size_t i) {
    size_t dim = (size_t)j->a->rows.dim;
    float *row = w->left + i * dim;
    if (w->is_wide >> i & 1) return row;
    const ms_rows *view;
    const unsigned char *at = ms_slices_row(&j->a->rows, left + (int64_t)i, &view);
    ms_row_to_f32(row, at, (ptrdiff_t)ms_dtype_bytes(view->dtype), view->dtype, dim);
    w->is_wide |= (uint64_t)1 << i;
    return row;
}

/* Rows that are scored soon lie anywhere, and the first touch of each would wait. */
static void prefetch_row(const join *j, int64_t row) {
    const ms_rows *view;
    const unsigned char *at = ms_slices_row(&j->b->rows, row, &view);
    size_t bytes = (size_t)view->dim * ms_dtype_bytes(view->dtype);
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i);
}

static void score_pair(join *j, size_t worker, const float *query, int64_t a, int64_t b) {
    const ms_rows *view;
    const unsigned char *at = ms_slices_row(&j->b->rows, b, &view);
    double dot, norm = j->b->norms[b], query_norm = j->a->norms[a];
    if (!(query_norm < INFINITY)) return; /* NaN or infinity is in no pair */
    j->setup->dots(&dot, at, view->row_bytes, view->dtype, query, 1, 1, (size_t)view->dim);
    /* a norm is zero or not finite where its square is */
    double score = ms_score(dot, norm, norm, query_norm, 0);
    j->workers[worker].n_scored++;
    if (score >= j->setup->threshold && score > -INFINITY)
        ms_join_hits_add(&j->hits, worker, (ms_join_hit){a, b, score});
}

/* Score what the codes left over of MS_JOIN_LEFT rows from `left` on and of those from `right` on.
 * Of a left index only its place among these rows counts. */
static void score_pairs(join *j, size_t worker, int64_t left, int64_t right, const uint32_t *pairs,
                        size_t n) {
    enum { AHEAD = 4 };
    join_worker *w = &j->workers[worker];
    w->is_wide = 0;
    for (size_t p = 0; p < n; p++) {
        int64_t a = left + (pairs[p] >> 16) % MS_JOIN_LEFT, b = right + (pairs[p] & 0xffff);
        if (p + AHEAD < n) prefetch_row(j, right + (pairs[p + AHEAD] & 0xffff));
        if (j->shape.is_self && a >= b) continue;
        score_pair(j, worker, left_row(j, w, left, (size_t)(a - left)), a, b);
    }
}

/* Left rows from `left` on against right rows from `right` on, both at the beginning of a tile. */
static void join_rows(join *j, size_t worker, int64_t left, int64_t left_end, int64_t right,
                      int64_t right_end) {
    join_worker *w = &j->workers[worker];
    size_t n;
    if (j->space.components == 0) {
        n = all_pairs(w->pairs, (size_t)(left_end - left), (size_t)(right_end - right));
    } else {
        ms_join_rows l = ms_join_side_tiles(j->a, (size_t)left / MS_JOIN_TILE,
                                            (size_t)(left_end - left + MS_JOIN_TILE - 1) /
                                                MS_JOIN_TILE),
                     r = ms_join_side_tiles(j->b, (size_t)right / MS_JOIN_TILE,
                                            (size_t)(right_end - right + MS_JOIN_TILE - 1) /
                                                MS_JOIN_TILE);
        n = j->setup->kernels->pairs(w->pairs, &l, &r, j->space.components, w->scratch);
    }
    if (n) score_pairs(j, worker, left, right, w->pairs, n);
}

static int is_stopped(join *j, size_t worker) {
    const msim_join_options *o = j->setup->options;
    if (worker == 0 && !j->is_stopped && o->should_stop && o->should_stop(o->user))
        j->is_stopped = 1;
    return j->is_stopped || j->hits.is_bad;
}

static void join_block(void *arg, int64_t item, int worker) {
    join *j = arg;
    ms_join_strip b = ms_join_block_at(&j->strip, item);
    if (is_stopped(j, (size_t)worker)) return;
    for (int64_t left = b.left; left < b.left_end; left += MS_JOIN_LEFT) {
        int64_t end = left + MS_JOIN_LEFT < b.left_end ? left + MS_JOIN_LEFT : b.left_end;
        int64_t right = j->shape.is_self && b.right < left ? left : b.right;
        if (right < b.right_end) join_rows(j, (size_t)worker, left, end, right, b.right_end);
    }
}

/* ---- Pairs that a device found ---- */

static void score_found(void *arg, int64_t item, int worker) {
    join *j = arg;
    size_t at = (size_t)item * FOUND_ITEM,
           end = at + FOUND_ITEM < j->n_found ? at + FOUND_ITEM : j->n_found;
    while (at < end && !is_stopped(j, (size_t)worker)) {
        size_t n = ms_join_found_run(j->found + at, end - at);
        int64_t block = (int64_t)(j->found[at] >> 16) / MS_JOIN_LEFT;
        score_pairs(j, (size_t)worker, j->strip.left + block * MS_JOIN_LEFT, j->found_right,
                    j->found + at, n);
        at += n;
    }
}

static int take_found(void *user, const ms_join_found *found) {
    join *j = user;
    ms_join_found_sort(j->found, found->pairs, found->n);
    j->n_found = found->n;
    j->found_right = found->right;
    ms_pool_run(j->setup->pool, (int64_t)((found->n + FOUND_ITEM - 1) / FOUND_ITEM), score_found,
                j);
    return is_stopped(j, 0);
}

static int open_device(join *j, msim_error *err) {
    const ms_join_setup *s = j->setup;
    if (!s->device || j->space.components == 0) return MSIM_OK;
    j->found = ms_alloc(MS_JOIN_LIST, sizeof *j->found, "pairs of a join", err);
    return j->found ? s->device->open(s->gpu, j->a, j->b, &j->device, err) : -MSIM_E_MEMORY;
}

/* ---- The whole ---- */

/* Find and score the pairs of the strip. */
static int join_strip(join *j, msim_error *err) {
    if (j->device) return j->setup->device->find(j->device, &j->strip, take_found, j, err);
    ms_pool_run(j->setup->pool, j->strip.n_blocks, join_block, j);
    return MSIM_OK;
}

static int64_t tell(const join *j, int64_t row, msim_error *err) {
    const msim_join_options *o = j->setup->options;
    int64_t before = ms_join_pairs_below(&j->shape, j->first),
            all = ms_join_pairs_below(&j->shape, j->end) - before,
            done = ms_join_pairs_below(&j->shape, row) - before;
    if (j->is_stopped || (o->progress && o->progress(o->user, done, all)))
        return ms_fail(err, MSIM_E_STOPPED, "join: stopped by the caller");
    return MSIM_OK;
}

static int64_t join_strips(join *j, msim_error *err) {
    int64_t n_hits = 0;
    int64_t rc = tell(j, j->first, err);
    for (int64_t left = j->first; left < j->end && rc >= 0 && !j->has_ended;
         left = j->strip.left_end) {
        j->strip = ms_join_strip_at(&j->shape, left, j->end);
        rc = join_strip(j, err);
        if (rc < 0) break;
        if (j->is_stopped) return tell(j, left, err);
        rc = ms_join_hits_drain(&j->hits, j->sink, j->user, &j->has_ended, err);
        if (rc < 0) break;
        n_hits += rc;
        if (!j->has_ended) rc = tell(j, j->strip.left_end, err);
    }
    return rc < 0 ? rc : n_hits;
}

static int open_workers(join *j, msim_error *err) {
    size_t n = (size_t)ms_pool_size(j->setup->pool), dim = (size_t)j->a->rows.dim;
    const char *what = "workers of a join";
    if (!(j->workers = ms_alloc(n, sizeof *j->workers, what, err))) return -MSIM_E_MEMORY;
    for (; j->n_workers < n; j->n_workers++) {
        join_worker *w = &j->workers[j->n_workers];
        if (!(w->pairs = ms_alloc(MS_JOIN_LEFT * MS_JOIN_RIGHT, sizeof *w->pairs, what, err)) ||
            !(w->scratch = ms_alloc(MS_JOIN_LEFT, j->space.components, what, err)) ||
            !(w->left = ms_alloc(MS_JOIN_LEFT * dim, sizeof *w->left, what, err))) {
            j->n_workers++;
            return -MSIM_E_MEMORY;
        }
    }
    return ms_join_hits_open(&j->hits, n, (size_t)j->setup->options->memory_bytes,
                             j->setup->options->folder, err);
}

static int open_sides(join *j, const ms_join_views *a, const ms_join_views *b, msim_error *err) {
    int rc = ms_join_side_open(&j->sides[0], a->views, a->n_views, err);
    if (rc >= 0 && !j->shape.is_self)
        rc = ms_join_side_open(&j->sides[1], b->views, b->n_views, err);
    if (rc < 0) return rc;
    j->a = &j->sides[0];
    j->b = j->shape.is_self ? j->a : &j->sides[1];
    j->shape.n_left = j->a->n_rows;
    j->shape.n_right = j->b->n_rows;
    return MSIM_OK;
}

static int encode_sides(join *j, msim_error *err) {
    const ms_join_setup *setup = j->setup;
    int has_codes = setup->options->scan != MSIM_SCAN_F64 && j->a->n_rows && j->b->n_rows;
    int rc = MSIM_OK;
    if (has_codes)
        rc = ms_join_space_open(&j->space, setup->kernels, &j->a->rows, &j->b->rows,
                                setup->threshold, err);
    for (int i = 0; i < 2 && rc >= 0 && j->sides[i].norms; i++)
        rc = ms_join_side_encode(&j->sides[i], has_codes ? &j->space : NULL, setup->squares,
                                 setup->threshold <= 0, setup->pool, err);
    return rc;
}

static void close_join(join *j) {
    for (size_t i = 0; i < j->n_workers; i++) {
        ms_free(j->workers[i].pairs);
        ms_free(j->workers[i].scratch);
        ms_free(j->workers[i].left);
    }
    ms_free(j->workers);
    ms_free(j->found);
    if (j->device) j->setup->device->close(j->device);
    ms_join_hits_close(&j->hits);
    ms_join_space_close(&j->space);
    ms_join_side_close(&j->sides[0]);
    ms_join_side_close(&j->sides[1]);
}

static int check_rows(const ms_join_views *v, int64_t dim, msim_error *err) {
    for (size_t i = 0; i < v->n_views; i++) {
        if (v->views[i].dim != dim)
            return ms_fail(err, MSIM_E_ARG, "join: expected rows of one width, got %lld and %lld",
                           (long long)dim, (long long)v->views[i].dim);
        if (v->views[i].dtype == MSIM_DTYPE_F64)
            return ms_fail(err, MSIM_E_UNSUPPORTED,
                           "join: rows of f64 are not joined; midisim-convert makes them f32");
    }
    return MSIM_OK;
}

/* What this rank did, or all of them. */
static void count(const join *j, int64_t n_hits, double began, double encoded,
                  msim_join_stats *stats) {
    const msim_ranks *r = j->log.ranks;
    int64_t sums[4] = {ms_join_pairs_below(&j->shape, j->end) -
                           ms_join_pairs_below(&j->shape, j->first),
                       0, n_hits, j->hits.n_spilled + j->log.n_in_file};
    for (size_t i = 0; i < j->n_workers; i++) sums[1] += j->workers[i].n_scored;
    if (r) r->sum(r->user, sums, 4);
    *stats = (msim_join_stats){.size = sizeof *stats,
                               .pairs = sums[0],
                               .scored = sums[1],
                               .hits = sums[2],
                               .spilled = sums[3],
                               .rows_nonfinite = j->a->n_nonfinite +
                                                 (j->shape.is_self ? 0 : j->b->n_nonfinite),
                               .components = (int64_t)j->space.components,
                               .is_mapped = j->space.map != NULL,
                               .prepare_seconds = encoded - began,
                               .join_seconds = ms_clock_now() - encoded};
}

/* The left rows of the shard that are this rank's: a shard of the shard. */
static void take_share(join *j) {
    const msim_join_options *o = j->setup->options;
    const msim_ranks *r = j->log.ranks;
    int64_t n_ranks = r ? r->count : 1, n = (o->n_shards ? o->n_shards : 1) * n_ranks,
            i = (o->n_shards ? o->shard - 1 : 0) * n_ranks + (r ? r->index : 0);
    j->first = ms_join_shard_first(&j->shape, i, n);
    j->end = ms_join_shard_first(&j->shape, i + 1, n);
}

/* All that comes before the first pair. */
static int prepare(join *j, const ms_join_views *a, const ms_join_views *b, msim_error *err) {
    const msim_join_options *o = j->setup->options;
    int64_t dim = a->n_views ? a->views[0].dim : 0;
    int rc = check_rows(a, dim, err);
    if (rc >= 0) rc = check_rows(b, dim, err);
    if (rc >= 0) rc = open_sides(j, a, b, err);
    if (rc >= 0) rc = encode_sides(j, err);
    if (rc >= 0) rc = open_workers(j, err);
    if (rc >= 0) rc = open_device(j, err);
    if (rc >= 0) rc = ms_join_log_open(&j->log, o->ranks, (size_t)o->memory_bytes, o->folder, err);
    if (rc >= 0) take_share(j);
    return rc;
}

/* Where hits of this rank go. */
static void choose_sink(join *j) {
    bool is_logged = j->log.ranks && j->log.ranks->index > 0;
    j->sink = is_logged ? ms_join_log_take : j->setup->sink;
    j->user = is_logged ? &j->log : j->setup->user;
}

/* After the strips: the ranks agree, and rank 0 gets what the others found. */
static int64_t gather(join *j, int64_t rc, msim_error *err) {
    const msim_ranks *r = j->setup->options->ranks;
    if (rc >= 0 && j->log.failed.code)
        rc = ms_fail(err, j->log.failed.code, "%s", j->log.failed.text);
    if (!r) return rc;
    int agreed = r->agree(r->user, rc < 0 ? (int)rc : MSIM_OK, err);
    if (agreed < 0) return agreed;
    int64_t others =
        ms_join_log_gather(&j->log, j->setup->sink, j->setup->user, &j->has_ended, err);
    return others < 0 ? others : r->index > 0 ? 0 : rc + others;
}

int64_t ms_join_run(const ms_join_setup *setup, const ms_join_views *a, const ms_join_views *b,
                    msim_join_stats *stats, msim_error *err) {
    join j = {.setup = setup, .shape.is_self = b->views == NULL};
    double began = ms_clock_now(), encoded = began;
    int64_t n_hits = prepare(&j, a, b, err);
    if (n_hits >= 0) {
        encoded = ms_clock_now();
        choose_sink(&j);
        n_hits = join_strips(&j, err);
    }
    n_hits = gather(&j, n_hits, err);
    if (n_hits >= 0) count(&j, n_hits, began, encoded, stats);
    ms_join_log_close(&j.log);
    close_join(&j);
    return n_hits;
}
