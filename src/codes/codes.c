/* The file of codes, CORPUS.npy.msim. The threads of a pool write it tile by tile; readers map it.
 * Its bytes follow from the rows alone, so a file is checked by making codes again. If they compare
 * equal, they are the codes of these rows, whatever happened to either file. Memory: a few tiles
 * per thread, and 8 bytes for each row of zeros or with NaN. docs/FORMATS.md, Codes. */
#include "codes/codes.h"
#include "base/mem.h"
#include "base/hash/digest.h"
#include "base/file.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { VERSION = 1, HEAD_BYTES = 128, DIGEST_AT = 96, DIGEST_BYTES = 32, PAGE = 4096 };
enum { ITEM_TILES = 16, BATCH_ITEMS = 64, SAMPLES = 64 };
#define CENTRE_MOST 2.0 /* the longest centre accepted; a mean of unit rows is at most 1 long */
static const char magic[8] = "MSIMCOPY";

typedef struct {
    char magic[8];
    uint32_t version, dtype;
    uint64_t rows, dim, source_bytes;
    int64_t source_time;
    uint64_t n_zeros, n_nonfinite;
    uint32_t codecs, reserved[7];
    unsigned char digest[DIGEST_BYTES]; /* SHA-256 of the head with these bytes 0, the centre and
                                         * both lists */
} codes_head;
_Static_assert(sizeof(codes_head) == HEAD_BYTES && offsetof(codes_head, digest) == DIGEST_AT,
               "as in docs/FORMATS.md");

/* The place of everything in the file. It follows from the numbers in the head. */
typedef struct {
    size_t int8_at, bf16_at, zeros_at, nonfinite_at, n_bytes;
    int64_t n_tiles;
} file_layout;

static int advance(size_t *at, uint64_t n, size_t bytes) {
    size_t all;
    return n <= SIZE_MAX && ms_mul_size((size_t)n, bytes, &all) && ms_add_size(*at, all, at);
}

/* False when the file's size does not fit a size_t. */
static int lay_out(file_layout *l, const codes_head *h) {
    size_t dim = (size_t)h->dim, at = (HEAD_BYTES + 4 * dim + PAGE - 1) / PAGE * PAGE;
    l->n_tiles = (int64_t)(h->rows / MS_CODES_TILE + (h->rows % MS_CODES_TILE != 0));
    l->int8_at = at;
    if (!advance(&at, h->codecs & MS_CODES_INT8 ? (uint64_t)l->n_tiles : 0,
                 ms_codes_int8_tile(dim)))
        return 0;
    l->bf16_at = at;
    if (!advance(&at, h->codecs & MS_CODES_BF16 ? (uint64_t)l->n_tiles : 0,
                 ms_codes_bf16_tile(dim)))
        return 0;
    l->zeros_at = at;
    if (!advance(&at, h->n_zeros, 8)) return 0;
    l->nonfinite_at = at;
    if (!advance(&at, h->n_nonfinite, 8)) return 0;
    l->n_bytes = at;
    return 1;
}

static int digest_of(unsigned char *digest, const codes_head *h, const void *centre,
                     const void *zeros, const void *nonfinite, msim_error *err) {
    codes_head bare = *h;
    memset(bare.digest, 0, sizeof bare.digest);
    ms_digest d;
    ms_digest_begin(&d, MS_DIGEST_SHA256);
    ms_digest_add(&d, &bare, sizeof bare);
    ms_digest_add(&d, centre, (size_t)h->dim * 4);
    ms_digest_add(&d, zeros, (size_t)h->n_zeros * 8);
    ms_digest_add(&d, nonfinite, (size_t)h->n_nonfinite * 8);
    return ms_digest_end(&d, digest, err);
}

static size_t tile_bytes(int codec, size_t dim) {
    return codec == MS_CODES_INT8 ? ms_codes_int8_tile(dim) : ms_codes_bf16_tile(dim);
}

/* Bytes that hold a tile of either codec. For narrow rows the int8 tile is the larger one. */
static size_t tile_room(size_t dim) {
    size_t int8 = ms_codes_int8_tile(dim), bf16 = ms_codes_bf16_tile(dim);
    return int8 > bf16 ? int8 : bf16;
}

/* ---- Writing ---- */

typedef struct {
    int64_t *rows; /* owned */
    size_t n, cap;
} listed_rows;

typedef struct {
    const ms_rows *view;
    const file_layout *layout;
    const float *centre;
    const ms_out_file *file; /* borrowed */
    int codecs;
    int64_t first_tile;   /* of the batch */
    unsigned char *class; /* [BATCH_ITEMS * ITEM_TILES * MS_CODES_TILE], by tile of the batch */
    unsigned char *tiles; /* [workers, ITEM_TILES * tile_room] */
    double *scratch;      /* [workers, scratch_each] */
    size_t tile_room, scratch_each;
    _Atomic bool has_failed;
    msim_error failed; /* of the first write that failed */
} write_job;

static void write_tiles(void *arg, int64_t item, int worker) {
    write_job *job = arg;
    size_t dim = (size_t)job->view->dim;
    int64_t first = job->first_tile + item * ITEM_TILES, end = first + ITEM_TILES;
    unsigned char *tiles = job->tiles + (size_t)worker * ITEM_TILES * job->tile_room;
    if (job->has_failed) return;
    if (end > job->layout->n_tiles) end = job->layout->n_tiles;
    for (int codec = MS_CODES_INT8; codec <= MS_CODES_BF16; codec *= 2) {
        size_t each = tile_bytes(codec, dim),
               at = codec == MS_CODES_INT8 ? job->layout->int8_at : job->layout->bf16_at;
        unsigned char class[MS_CODES_TILE],
            *classes = job->class + (size_t)(first - job->first_tile) * MS_CODES_TILE;
        if (!(job->codecs & codec)) continue;
        for (int64_t tile = first; tile < end; tile++, classes += MS_CODES_TILE) {
            ms_codes_make_tile(tiles + (size_t)(tile - first) * each, class, job->view, tile,
                               job->centre, codec,
                               job->scratch + (size_t)worker * job->scratch_each);
            memcpy(classes, class, sizeof class);
        }
        msim_error err;
        if (ms_file_write_at(job->file->fd, tiles, (size_t)(end - first) * each,
                             (int64_t)(at + (size_t)first * each), job->file->temp_path,
                             &err) < 0 &&
            !atomic_exchange(&job->has_failed, true))
            job->failed = err;
    }
}

static int add_row(listed_rows *list, int64_t row, msim_error *err) {
    int rc = list->n == list->cap ? ms_grow((void **)&list->rows, &list->cap, list->n + 1,
                                            sizeof *list->rows, "list of rows", err)
                                  : MSIM_OK;
    if (rc >= 0) list->rows[list->n++] = row;
    return rc;
}

static int list_rows(const write_job *job, int64_t n_tiles, listed_rows lists[2], msim_error *err) {
    int64_t first = job->first_tile * MS_CODES_TILE, n = job->view->n_rows - first;
    if (n > n_tiles * MS_CODES_TILE) n = n_tiles * MS_CODES_TILE;
    int rc = MSIM_OK;
    for (int64_t i = 0; i < n && rc >= 0; i++) {
        if (job->class[i] == MS_CODES_ZERO) rc = add_row(&lists[0], first + i, err);
        if (job->class[i] == MS_CODES_NONFINITE) rc = add_row(&lists[1], first + i, err);
    }
    return rc;
}

static int write_all_tiles(write_job *job, const ms_out_file *f, ms_pool *pool,
                           listed_rows lists[2], ms_codes_progress progress, msim_error *err) {
    int64_t n_tiles = job->layout->n_tiles, n_rows = job->view->n_rows;
    for (job->first_tile = 0; job->first_tile < n_tiles;
         job->first_tile += BATCH_ITEMS * ITEM_TILES) {
        int64_t n = n_tiles - job->first_tile < BATCH_ITEMS * ITEM_TILES ? n_tiles - job->first_tile
                                                                         : BATCH_ITEMS * ITEM_TILES;
        ms_pool_run(pool, (n + ITEM_TILES - 1) / ITEM_TILES, write_tiles, job);
        if (job->has_failed) {
            if (err) *err = job->failed;
            return -job->failed.code;
        }
        int rc = list_rows(job, n, lists, err);
        if (rc < 0) return rc;
        int64_t done = (job->first_tile + n) * MS_CODES_TILE;
        if (progress.progress &&
            progress.progress(progress.user, done < n_rows ? done : n_rows, n_rows))
            return ms_fail(err, MSIM_E_STOPPED,
                           "codes: %s: stopped by the caller after %" PRId64 " of %" PRId64 " rows",
                           f->path, done < n_rows ? done : n_rows, n_rows);
    }
    return MSIM_OK;
}

/* Write what lies around the tiles. Only the last step gives the file its final length. */
static int write_rest(const ms_out_file *f, codes_head *h, const float *centre,
                      const listed_rows lists[2], msim_error *err) {
    file_layout l;
    h->n_zeros = lists[0].n;
    h->n_nonfinite = lists[1].n;
    if (!lay_out(&l, h))
        return ms_fail(err, MSIM_E_LIMIT, "codes: %s: the file would be too large for this machine",
                       f->path);
    const void *zeros = lists[0].n ? (const void *)lists[0].rows : "",
               *nonfinite = lists[1].n ? (const void *)lists[1].rows : "";
    int rc = digest_of(h->digest, h, centre, zeros, nonfinite, err);
    if (rc < 0) return rc;
    rc = ms_file_write_at(f->fd, h, sizeof *h, 0, f->temp_path, err);
    if (rc >= 0)
        rc = ms_file_write_at(f->fd, centre, (size_t)h->dim * 4, HEAD_BYTES, f->temp_path, err);
    if (rc >= 0)
        rc = ms_file_write_at(f->fd, zeros, (size_t)h->n_zeros * 8, (int64_t)l.zeros_at,
                              f->temp_path, err);
    if (rc >= 0)
        rc = ms_file_write_at(f->fd, nonfinite, (size_t)h->n_nonfinite * 8, (int64_t)l.nonfinite_at,
                              f->temp_path, err);
    if (rc >= 0 && ftruncate(f->fd, (off_t)l.n_bytes) != 0)
        rc = ms_fail_errno(err, errno, "cannot write: %s", f->temp_path);
    return rc;
}

int ms_codes_write(const char *path, const ms_rows *view, ms_codes_stamp stamp, int codecs,
                   ms_pool *pool, ms_codes_progress progress, msim_error *err) {
    size_t dim = (size_t)view->dim, workers = (size_t)ms_pool_size(pool);
    codes_head h = {.version = VERSION,
                    .dtype = (uint32_t)view->dtype,
                    .rows = (uint64_t)view->n_rows,
                    .dim = dim,
                    .source_bytes = stamp.bytes,
                    .source_time = stamp.time,
                    .codecs = (uint32_t)codecs};
    file_layout layout;
    memcpy(h.magic, magic, sizeof magic);
    if (!lay_out(&layout, &h))
        return ms_fail(err, MSIM_E_LIMIT, "codes: %s: the file would be too large for this machine",
                       path);
    write_job job = {.view = view,
                     .layout = &layout,
                     .codecs = codecs,
                     .scratch_each = ms_codes_scratch(dim) + 8};
    job.tile_room = tile_room(dim);
    listed_rows lists[2] = {{0}};
    ms_out_file f = {.fd = -1};
    float *centre = ms_alloc(dim, sizeof *centre, "codes", err);
    if (centre) job.class = ms_alloc(BATCH_ITEMS * ITEM_TILES * MS_CODES_TILE, 1, "codes", err);
    if (job.class) job.tiles = ms_alloc(workers * ITEM_TILES, job.tile_room, "codes", err);
    if (job.tiles) job.scratch = ms_alloc(workers * job.scratch_each, sizeof(double), "codes", err);
    int rc = job.scratch ? ms_out_file_open(&f, path, "", 0, err) : -MSIM_E_MEMORY;
    if (rc >= 0) {
        job.file = &f;
        job.centre = centre;
        ms_codes_find_centre(centre, view, job.scratch);
        rc = write_all_tiles(&job, &f, pool, lists, progress, err);
    }
    if (rc >= 0) rc = write_rest(&f, &h, centre, lists, err);
    if (rc >= 0) rc = ms_out_file_finish(&f, err);
    ms_out_file_close(&f);
    ms_free(lists[0].rows);
    ms_free(lists[1].rows);
    ms_free(job.scratch);
    ms_free(job.tiles);
    ms_free(job.class);
    ms_free(centre);
    return rc;
}

/* ---- Reading ---- */

static int check_list(const char *path, const char *what, const int64_t *rows, size_t n,
                      int64_t n_rows, msim_error *err) {
    int64_t before = -1;
    for (size_t i = 0; i < n; before = rows[i++])
        if (rows[i] <= before || rows[i] >= n_rows)
            return ms_fail(err, MSIM_E_FORMAT,
                           "codes: %s: list of %s: expected ascending rows below %" PRId64
                           ", got %" PRId64 " after %" PRId64,
                           path, what, n_rows, rows[i], before);
    return MSIM_OK;
}

static int check_head(const char *path, const codes_head *h, const ms_rows *view, msim_error *err) {
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return ms_fail(err, MSIM_E_FORMAT,
                       "codes: %s: not a file of codes: it does not begin with MSIMCOPY", path);
    if (h->version != VERSION)
        return ms_fail(err, MSIM_E_FORMAT, "codes: %s: expected version %d, got %" PRIu32, path,
                       VERSION, h->version);
    if (h->rows != (uint64_t)view->n_rows || h->dim != (uint64_t)view->dim ||
        h->dtype != (uint32_t)view->dtype)
        return ms_fail(err, MSIM_E_FORMAT,
                       "codes: %s: expected codes of %" PRId64 " rows of width %" PRId64
                       " and msim_dtype %d, got %" PRIu64 ", %" PRIu64 " and %" PRIu32,
                       path, view->n_rows, view->dim, view->dtype, h->rows, h->dim, h->dtype);
    if (h->codecs < MS_CODES_INT8 || h->codecs > (MS_CODES_INT8 | MS_CODES_BF16))
        return ms_fail(err, MSIM_E_FORMAT, "codes: %s: expected codecs 1, 2 or 3, got %" PRIu32,
                       path, h->codecs);
    if (h->n_zeros > h->rows || h->n_nonfinite > h->rows - h->n_zeros)
        return ms_fail(err, MSIM_E_FORMAT,
                       "codes: %s: expected lists of at most %" PRIu64 " rows, got %" PRIu64
                       " and %" PRIu64,
                       path, h->rows, h->n_zeros, h->n_nonfinite);
    return MSIM_OK;
}

static int check_centre(const char *path, const float *centre, int64_t dim, msim_error *err) {
    double square = 0;
    for (int64_t j = 0; j < dim; j++) square += (double)centre[j] * centre[j];
    if (square <= CENTRE_MOST * CENTRE_MOST) return MSIM_OK; /* not NaN either */
    return ms_fail(err, MSIM_E_FORMAT, "codes: %s: centre: expected a length of at most %g, got %g",
                   path, CENTRE_MOST, sqrt(square));
}

static int open_mapped(const char *path, const ms_rows *view, ms_codes_file *out, msim_error *err) {
    codes_head h;
    file_layout l;
    unsigned char digest[DIGEST_BYTES];
    const unsigned char *data = out->map.data;
    if (out->map.n_bytes < HEAD_BYTES)
        return ms_fail(err, MSIM_E_FORMAT, "codes: %s: expected %d bytes of head, got %zu", path,
                       HEAD_BYTES, out->map.n_bytes);
    memcpy(&h, data, sizeof h);
    int rc = check_head(path, &h, view, err);
    if (rc < 0) return rc;
    if (!lay_out(&l, &h) || l.n_bytes != out->map.n_bytes)
        return ms_fail(err, MSIM_E_FORMAT, "codes: %s: expected %zu bytes, got %zu", path,
                       l.n_bytes, out->map.n_bytes);
    out->stamp = (ms_codes_stamp){h.source_bytes, h.source_time};
    out->codes = (ms_codes){.centre = (const float *)(const void *)(data + HEAD_BYTES),
                            .int8 = h.codecs & MS_CODES_INT8 ? data + l.int8_at : NULL,
                            .bf16 = h.codecs & MS_CODES_BF16 ? data + l.bf16_at : NULL,
                            .zeros = (const int64_t *)(const void *)(data + l.zeros_at),
                            .nonfinite = (const int64_t *)(const void *)(data + l.nonfinite_at),
                            .n_zeros = (size_t)h.n_zeros,
                            .n_nonfinite = (size_t)h.n_nonfinite,
                            .n_rows = view->n_rows,
                            .dim = view->dim};
    rc = digest_of(digest, &h, out->codes.centre, out->codes.zeros, out->codes.nonfinite, err);
    if (rc >= 0 && memcmp(digest, h.digest, sizeof digest) != 0)
        rc = ms_fail(err, MSIM_E_FORMAT, "codes: %s: damaged: the hash of its head is wrong", path);
    if (rc >= 0) rc = check_centre(path, out->codes.centre, view->dim, err);
    if (rc >= 0)
        rc = check_list(path, "rows of zeros", out->codes.zeros, out->codes.n_zeros, view->n_rows,
                        err);
    if (rc >= 0)
        rc = check_list(path, "rows with NaN", out->codes.nonfinite, out->codes.n_nonfinite,
                        view->n_rows, err);
    return rc;
}

int ms_codes_open(const char *path, const ms_rows *view, ms_codes_file *out, msim_error *err) {
    *out = (ms_codes_file){0};
    int rc = ms_map_open(path, MS_MAP_NORMAL, &out->map, err);
    if (rc >= 0) rc = open_mapped(path, view, out, err);
    if (rc < 0) ms_codes_close(out);
    return rc;
}

void ms_codes_close(ms_codes_file *file) {
    ms_map_close(&file->map);
    *file = (ms_codes_file){0};
}

/* ---- Checking ---- */

typedef struct {
    const ms_rows *view;
    const ms_codes *codes;
    int64_t n_tiles, n_items;
    unsigned char *tiles; /* [workers, room] */
    double *scratch;      /* [workers, scratch_each] */
    size_t room, scratch_each;
    _Atomic int64_t bad; /* a tile that differs, or -1 */
} check_job;

static int is_listed(const int64_t *rows, size_t n, int64_t row) {
    size_t low = 0;
    while (n) {
        size_t half = n / 2;
        if (rows[low + half] == row) return 1;
        if (rows[low + half] < row)
            low += half + 1, n -= half + 1;
        else
            n = half;
    }
    return 0;
}

static int tile_is_right(check_job *job, int64_t tile, unsigned char *room, double *scratch) {
    const ms_codes *c = job->codes;
    unsigned char class[MS_CODES_TILE];
    for (int codec = MS_CODES_INT8; codec <= MS_CODES_BF16; codec *= 2) {
        const unsigned char *stored = codec == MS_CODES_INT8 ? c->int8 : c->bf16;
        size_t each = tile_bytes(codec, (size_t)c->dim);
        if (!stored) continue;
        ms_codes_make_tile(room, class, job->view, tile, c->centre, codec, scratch);
        if (memcmp(room, stored + (size_t)tile * each, each) != 0) return 0;
    }
    for (int64_t lane = 0, row = tile * MS_CODES_TILE; lane < MS_CODES_TILE && row < c->n_rows;
         lane++, row++) {
        if ((class[lane] == MS_CODES_ZERO) != is_listed(c->zeros, c->n_zeros, row)) return 0;
        if ((class[lane] == MS_CODES_NONFINITE) != is_listed(c->nonfinite, c->n_nonfinite, row))
            return 0;
    }
    return 1;
}

/* The sampled tiles are spread evenly from the first to the last. */
static void check_tiles(void *arg, int64_t item, int worker) {
    check_job *job = arg;
    unsigned char *room = job->tiles + (size_t)worker * job->room;
    double *scratch = job->scratch + (size_t)worker * job->scratch_each;
    int64_t tile = item, gaps = job->n_items - 1;
    if (job->n_tiles > job->n_items) /* item * (n_tiles - 1) / gaps without overflow */
        tile = (job->n_tiles - 1) / gaps * item + (job->n_tiles - 1) % gaps * item / gaps;
    if (job->bad < 0 && !tile_is_right(job, tile, room, scratch)) job->bad = tile;
}

int ms_codes_check(const char *path, const ms_rows *view, const ms_codes_file *file, int is_full,
                   ms_pool *pool, msim_error *err) {
    size_t dim = (size_t)view->dim, workers = pool ? (size_t)ms_pool_size(pool) : 1;
    check_job job = {
        .view = view, .codes = &file->codes, .bad = -1, .scratch_each = ms_codes_scratch(dim) + 8};
    job.n_tiles = view->n_rows / MS_CODES_TILE + (view->n_rows % MS_CODES_TILE != 0);
    job.n_items = is_full || job.n_tiles < SAMPLES ? job.n_tiles : SAMPLES;
    job.room = tile_room(dim);
    job.tiles = ms_alloc(workers, job.room, "codes", err);
    if (job.tiles) job.scratch = ms_alloc(workers * job.scratch_each, sizeof(double), "codes", err);
    int rc = job.scratch ? MSIM_OK : -MSIM_E_MEMORY;
    if (rc >= 0 && pool) ms_pool_run(pool, job.n_items, check_tiles, &job);
    for (int64_t item = 0; rc >= 0 && !pool && item < job.n_items; item++)
        check_tiles(&job, item, 0);
    if (rc >= 0 && job.bad >= 0) {
        int64_t row = job.bad * MS_CODES_TILE, last = row + MS_CODES_TILE - 1;
        rc = ms_fail(err, MSIM_E_FORMAT,
                     "codes: %s: these are not the codes of rows %" PRId64 "..%" PRId64
                     ": the rows changed or the file is damaged; prepare it again",
                     path, row, last < view->n_rows ? last : view->n_rows - 1);
    }
    ms_free(job.scratch);
    ms_free(job.tiles);
    return rc;
}
