/* The rows of a search on a CUDA device. What fits stays in its memory. What does not fit comes
 * through two buffers, window by window. kernels/search/state.h defines slices, spans and windows.
 *
 * Load tries to keep, in this order: rows and codes, codes alone, rows alone, nothing. An
 * allocation that fails counts as not fitting. Codes go before rows, because a scan of codes reads
 * least and the host can gather the few rows that it leaves. Rows are packed: row_bytes is the
 * row's length up to a multiple of 16, filled with zeros. Everything read from the corpus goes
 * through pinned memory, because its files are mapped and lie at any alignment. If there is much of
 * it, the search's own threads copy it there. One arena holds all that is resident; nothing is
 * allocated after load. docs/GPU.md. */
#include "base/mem.h"
#include "kernels/search/state.h"
#include <math.h>
#include <string.h>

enum { ALIGN = 256, BUFFER_BYTES = 32 << 20, RESERVE_BYTES = 256 << 20, MOST_DIM = 65536 };
enum { PIECE_BYTES = 1 << 20, MOST_THREADS = 8 }; /* a few threads copy as fast as memory is */

/* ---- Rows of the corpus ---- */

static void put_row(const ms_gpu_search *s, unsigned char *to, size_t row_bytes,
                    const unsigned char *from, int dtype) {
    size_t bytes = (size_t)s->rows.dim * ms_dtype_bytes(dtype);
    memcpy(to, from, bytes);
    memset(to + bytes, 0, row_bytes - bytes);
}

void ms_gpu_row_put(const ms_gpu_search *s, unsigned char *to, size_t row_bytes, int64_t row) {
    const ms_rows *view;
    const unsigned char *from = ms_slices_row(&s->rows, row, &view);
    put_row(s, to, row_bytes, from, view->dtype);
}

/* n rows of a slice from row `first` of its view on. */
static void put_rows_here(const ms_gpu_search *s, unsigned char *to, size_t row_bytes,
                          const ms_rows *view, int64_t first, int64_t n) {
    if (!view->offsets && view->row_bytes == row_bytes &&
        row_bytes == (size_t)s->rows.dim * ms_dtype_bytes(view->dtype)) {
        memcpy(to, ms_rows_at(view, first), (size_t)n * row_bytes);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        put_row(s, to + (size_t)i * row_bytes, row_bytes, ms_rows_at(view, first + i), view->dtype);
}

/* Rows of a view, or (view NULL) bytes as they lie, in pieces for the threads. */
typedef struct {
    const ms_gpu_search *s;
    unsigned char *to;
    const unsigned char *from;
    const ms_rows *view;
    size_t row_bytes; /* of bytes: 1 */
    int64_t first, n, piece;
} put_job;

static void put_piece(void *arg, int64_t item, int worker) {
    const put_job *j = arg;
    int64_t at = item * j->piece, n = j->n - at < j->piece ? j->n - at : j->piece;
    (void)worker;
    if (j->view)
        put_rows_here(j->s, j->to + (size_t)at * j->row_bytes, j->row_bytes, j->view, j->first + at,
                      n);
    else
        memcpy(j->to + at, j->from + at, (size_t)n);
}

static void put_all(const ms_gpu_search *s, put_job *j) {
    j->s = s;
    j->piece = (int64_t)(PIECE_BYTES / j->row_bytes) + 1;
    ms_gpu_each(s, (j->n + j->piece - 1) / j->piece, put_piece, j);
}

static void put_rows(const ms_gpu_search *s, unsigned char *to, size_t row_bytes,
                     const ms_rows *view, int64_t first, int64_t n) {
    put_all(s, &(put_job){.to = to, .view = view, .row_bytes = row_bytes, .first = first, .n = n});
}

static void put_bytes(const ms_gpu_search *s, unsigned char *to, const unsigned char *from,
                      size_t n) {
    put_all(s, &(put_job){.to = to, .from = from, .row_bytes = 1, .n = (int64_t)n});
}

void ms_gpu_each(const ms_gpu_search *s, int64_t n, ms_pool_fn fn, void *arg) {
    if (s->pool)
        ms_pool_run(s->pool, n, fn, arg);
    else
        for (int64_t i = 0; i < n; i++) fn(arg, i, 0);
}

/* ---- Slices and spans ---- */

/* *at moves over n * bytes bytes, to the next multiple of ALIGN. */
static int add_bytes(size_t *at, int64_t n, size_t bytes, msim_error *err) {
    size_t more;
    if (n < 0 || !ms_mul_size((size_t)n, bytes, &more) || !ms_add_size(more, ALIGN - 1, &more) ||
        !ms_add_size(*at, more / ALIGN * ALIGN, at))
        return ms_fail(err, MSIM_E_LIMIT,
                       "corpus: %lld rows of %zu bytes are more than memory can hold", (long long)n,
                       bytes);
    return MSIM_OK;
}

static int64_t slice_tiles(const ms_slice *p) {
    return (p->start + p->n_rows - 1) / MS_CODES_TILE - p->start / MS_CODES_TILE + 1;
}

/* A slice goes to the last span if it is of its type. */
static void add_slice(ms_gpu_search *s, size_t i) {
    const ms_slice *slice = &s->rows.slices[i];
    int dtype = slice->view->dtype;
    ms_gpu_span *span = s->n_spans ? &s->spans[s->n_spans - 1] : NULL;
    if (!span || span->rows.dtype != dtype) {
        span = &s->spans[s->n_spans++];
        *span = (ms_gpu_span){
            .first_slice = i,
            .rows = {.dim = s->rows.dim, .dtype = dtype, .first_row = slice->first_row}};
        span->rows.row_bytes = ((size_t)s->rows.dim * ms_dtype_bytes(dtype) + 15) / 16 * 16;
        if (span->rows.row_bytes > s->max_row_bytes) s->max_row_bytes = span->rows.row_bytes;
    }
    span->rows.n_rows += slice->n_rows;
    span->end_slice = i + 1;
}

int ms_gpu_rows_slice(ms_gpu_search *s, const ms_rows *views, size_t n_views, int64_t first,
                      int64_t n, msim_error *err) {
    if (n_views && (views[0].dim < 1 || views[0].dim > MOST_DIM))
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "corpus: expected rows of width 1..%d on a CUDA device, got %lld", MOST_DIM,
                       (long long)views[0].dim);
    int rc = ms_slices_open(&s->rows, views, n_views, first, n, err);
    if (rc < 0) return rc;
    s->tiles = ms_alloc(s->rows.n, sizeof *s->tiles, "search", err);
    s->spans = s->tiles ? ms_alloc(s->rows.n, sizeof *s->spans, "search", err) : NULL;
    if (!s->spans) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < s->rows.n; i++) add_slice(s, i);
    return MSIM_OK;
}

/* ---- What stays ---- */

typedef struct {
    int has_rows, codes; /* codes: the scan whose codes stay, or 0 */
} residence;

/* Bytes of the arena for a level; with `base`, also where everything lies in it. */
static int lay_out(ms_gpu_search *s, residence want, unsigned char *base, size_t *out,
                   msim_error *err) {
    size_t at = 0;
    int rc = MSIM_OK;
    for (size_t i = 0; i < s->n_spans && rc >= 0 && want.has_rows; i++) {
        ms_gpu_span *span = &s->spans[i];
        if (base) span->rows.data = base + at;
        rc = add_bytes(&at, span->rows.n_rows, span->rows.row_bytes, err);
        if (base) span->values = (float *)(void *)(base + at);
        if (rc >= 0) rc = add_bytes(&at, span->rows.n_rows, sizeof(float), err);
    }
    for (size_t i = 0; i < s->rows.n && rc >= 0 && want.codes; i++) {
        if (base) s->tiles[i] = base + at;
        rc = add_bytes(&at, slice_tiles(&s->rows.slices[i]),
                       ms_gpu_tile_bytes(s->rows.dim, want.codes), err);
    }
    *out = at;
    return rc;
}

static void give_back_buffers(ms_gpu_search *s) {
    for (int i = 0; i < MS_GPU_BUFFERS; i++) {
        ms_gpu_free(s->stream, s->buffers[i]);
        s->buffers[i] = NULL;
    }
    ms_gpu_free(s->stream, s->buffer_values);
    ms_gpu_free(s->stream, s->gather);
    s->buffer_values = NULL;
    s->gather = NULL;
}

static void give_back_host_buffers(ms_gpu_search *s) {
    for (int i = 0; i < MS_GPU_BUFFERS; i++) {
        ms_gpu_host_free(s->stream, s->host_buffers[i]);
        s->host_buffers[i] = NULL;
    }
}

static void give_back_arena(ms_gpu_search *s) {
    for (size_t i = 0; i < s->n_spans; i++) {
        s->spans[i].rows.data = NULL;
        s->spans[i].values = NULL;
    }
    for (size_t i = 0; s->tiles && i < s->rows.n; i++) s->tiles[i] = NULL;
    ms_gpu_free(s->stream, s->arena);
    s->arena = NULL;
    s->residence = (ms_gpu_residence){0};
}

void ms_gpu_rows_unload(ms_gpu_search *s) {
    give_back_arena(s);
    give_back_buffers(s);
    give_back_host_buffers(s);
    ms_gpu_host_free(s->stream, s->host_gather);
    ms_pool_close(s->pool);
    s->pool = NULL;
    ms_slices_close(&s->rows);
    ms_free(s->tiles);
    ms_free(s->spans);
    s->host_gather = NULL;
    s->tiles = NULL;
    s->spans = NULL;
    s->n_spans = 0;
    s->max_row_bytes = 0;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* A buffer holds a row and a tile at least; that of gathered rows a pair of candidates of each
 * query. */
static size_t least_buffer(const ms_gpu_search *s) {
    size_t least = s->max_row_bytes;
    if (s->rows.has_int8) least = larger(least, ms_gpu_tile_bytes(s->rows.dim, MSIM_SCAN_INT8));
    return s->rows.has_bf16 ? larger(least, ms_gpu_tile_bytes(s->rows.dim, MSIM_SCAN_BF16)) : least;
}

static void set_buffers(ms_gpu_search *s, size_t bytes) {
    s->buffer_bytes = larger(bytes, least_buffer(s));
    s->gather_bytes = larger(s->buffer_bytes, (size_t)s->n_queries * 2 * s->max_row_bytes);
}

/* No larger than the largest slice needs. */
static int size_buffers(ms_gpu_search *s, size_t *all, msim_error *err) {
    size_t wanted = s->limits.buffer_bytes ? s->limits.buffer_bytes : BUFFER_BYTES, most = 0;
    *all = 0;
    for (size_t i = 0; i < s->rows.n; i++) {
        const ms_slice *p = &s->rows.slices[i];
        size_t bytes = 0;
        int rc = add_bytes(&bytes, p->n_rows, s->max_row_bytes, err);
        if (rc >= 0 && s->rows.has_int8)
            rc = add_bytes(&bytes, slice_tiles(p), ms_gpu_tile_bytes(s->rows.dim, MSIM_SCAN_INT8),
                           err);
        if (rc >= 0 && s->rows.has_bf16)
            rc = add_bytes(&bytes, slice_tiles(p), ms_gpu_tile_bytes(s->rows.dim, MSIM_SCAN_BF16),
                           err);
        if (rc >= 0) rc = add_bytes(all, 1, bytes, err);
        if (rc < 0) return rc;
        most = larger(most, bytes);
    }
    set_buffers(s, wanted < most ? wanted : most);
    return MSIM_OK;
}

static size_t least_row_bytes(const ms_gpu_search *s) {
    size_t least = s->max_row_bytes;
    for (size_t i = 0; i < s->n_spans; i++)
        if (s->spans[i].rows.row_bytes < least) least = s->spans[i].rows.row_bytes;
    return least;
}

static int take_buffers(ms_gpu_search *s, residence have, msim_error *err) {
    const char *what = "a buffer for rows";
    for (int i = 0; i < MS_GPU_BUFFERS; i++)
        if (!(s->buffers[i] = ms_gpu_alloc(s->stream, s->buffer_bytes, 1, what, err)))
            return ms_gpu_failed(err);
    if (have.has_rows) return MSIM_OK;
    if (!(s->buffer_values = ms_gpu_alloc(s->stream, s->buffer_bytes / least_row_bytes(s),
                                          sizeof(float), what, err)))
        return ms_gpu_failed(err);
    return (s->gather = ms_gpu_alloc(s->stream, s->gather_bytes, 1, what, err))
               ? MSIM_OK
               : ms_gpu_failed(err);
}

/* Whether something that a search may ask for must come through the buffers. */
static int needs_buffers(const ms_gpu_search *s, residence have) {
    return !have.has_rows || (s->rows.has_int8 && have.codes != MSIM_SCAN_INT8) ||
           (s->rows.has_bf16 && have.codes != MSIM_SCAN_BF16);
}

/* Memory for a level. -MSIM_E_MEMORY: it does not fit. */
static int try_level(ms_gpu_search *s, residence want, msim_error *err) {
    ms_gpu_info info;
    size_t bytes, all, room,
        buffers = needs_buffers(s, want) ? MS_GPU_BUFFERS * s->buffer_bytes : 0;
    int rc = lay_out(s, want, NULL, &bytes, err), is_least = !want.has_rows && !want.codes;
    if (rc >= 0) rc = ms_gpu_get_info(ms_gpu_stream_device(s->stream), &info, err);
    if (rc < 0) return rc;
    if (!want.has_rows)
        buffers += s->gather_bytes + s->buffer_bytes / least_row_bytes(s) * sizeof(float);
    room = info.free_bytes -
           (info.free_bytes / 16 < RESERVE_BYTES ? info.free_bytes / 16 : RESERVE_BYTES);
    if (s->limits.memory_bytes && bytes > s->limits.memory_bytes) return -MSIM_E_MEMORY;
    /* the least is tried */
    if (!is_least && (!ms_add_size(bytes, buffers, &all) || all > room)) return -MSIM_E_MEMORY;
    rc = buffers ? take_buffers(s, want, err) : MSIM_OK;
    if (rc >= 0 && bytes &&
        !(s->arena = ms_gpu_alloc(s->stream, bytes, 1, "rows of the corpus", err)))
        rc = ms_gpu_failed(err);
    if (rc < 0) {
        give_back_buffers(s);
        return rc;
    }
    s->residence = (ms_gpu_residence){.has_rows = want.has_rows,
                                      .has_int8 = want.codes == MSIM_SCAN_INT8,
                                      .has_bf16 = want.codes == MSIM_SCAN_BF16,
                                      .bytes = bytes};
    return lay_out(s, want, s->arena, &bytes, err);
}

/* Choose the first level that there is memory for. The last level may get smaller buffers. */
static int choose_level(ms_gpu_search *s, residence *out, msim_error *err) {
    int codes = s->rows.has_int8   ? MSIM_SCAN_INT8
                : s->rows.has_bf16 ? MSIM_SCAN_BF16
                                   : 0,
        rc = -MSIM_E_MEMORY;
    const residence levels[] = {{1, codes}, {0, codes}, {1, 0}, {0, 0}};
    msim_error last = {0};
    for (size_t i = codes ? 0 : 2; i < sizeof levels / sizeof *levels && rc == -MSIM_E_MEMORY;
         i++) {
        *out = levels[i];
        rc = try_level(s, levels[i], &last);
    }
    while (rc == -MSIM_E_MEMORY && s->buffer_bytes > least_buffer(s)) {
        set_buffers(s, s->buffer_bytes / 2);
        rc = try_level(s, *out, &last);
    }
    if (rc < 0 && err) *err = last;
    return rc;
}

/* ---- Uploads ---- */

/* n_bytes of one buffer to the device, behind the last upload. */
static int send(ms_gpu_search *s, int buffer, unsigned char *to, size_t n_bytes, msim_error *err) {
    int rc = ms_gpu_upload(s->copies, to, s->host_buffers[buffer], n_bytes, err);
    return rc < 0 ? rc : ms_gpu_event_record(s->uploaded[buffer], s->copies, err);
}

static int send_rows(ms_gpu_search *s, const ms_gpu_span *span, int *buffer, msim_error *err) {
    size_t row_bytes = span->rows.row_bytes;
    unsigned char *to = s->arena + ((const unsigned char *)span->rows.data - s->arena);
    int64_t at_once = (int64_t)(s->buffer_bytes / row_bytes);
    int rc = MSIM_OK;
    for (size_t i = span->first_slice; i < span->end_slice; i++) {
        const ms_slice *p = &s->rows.slices[i];
        for (int64_t at = 0, n; at < p->n_rows && rc >= 0; at += n) {
            n = p->n_rows - at < at_once ? p->n_rows - at : at_once;
            if ((rc = ms_gpu_event_wait(s->uploaded[*buffer], err)) < 0) return rc;
            put_rows(s, s->host_buffers[*buffer], row_bytes, p->view, p->start + at, n);
            rc = send(s, *buffer, to, (size_t)n * row_bytes, err);
            to += (size_t)n * row_bytes;
            *buffer ^= 1;
        }
    }
    return rc;
}

static int send_tiles(ms_gpu_search *s, size_t slice, int scan, int *buffer, msim_error *err) {
    const ms_slice *p = &s->rows.slices[slice];
    size_t tile_bytes = ms_gpu_tile_bytes(s->rows.dim, scan),
           left = (size_t)slice_tiles(p) * tile_bytes;
    const unsigned char *from = ms_gpu_tiles_of(p->view, scan) +
                                (size_t)(p->start / MS_CODES_TILE) * tile_bytes;
    unsigned char *to = s->arena + (s->tiles[slice] - s->arena);
    int rc = MSIM_OK;
    for (size_t n; left && rc >= 0; from += n, to += n, left -= n) {
        n = left < s->buffer_bytes ? left : s->buffer_bytes;
        if ((rc = ms_gpu_event_wait(s->uploaded[*buffer], err)) < 0) return rc;
        put_bytes(s, s->host_buffers[*buffer], from, n);
        rc = send(s, *buffer, to, n, err);
        *buffer ^= 1;
    }
    return rc;
}

static int send_all(ms_gpu_search *s, residence have, msim_error *err) {
    int buffer = 0, rc = MSIM_OK;
    for (int i = 0; i < MS_GPU_BUFFERS && rc >= 0; i++)
        rc = ms_gpu_event_record(s->uploaded[i], s->copies, err);
    for (size_t i = 0; i < s->n_spans && rc >= 0 && have.has_rows; i++)
        rc = send_rows(s, &s->spans[i], &buffer, err);
    for (size_t i = 0; i < s->rows.n && rc >= 0 && have.codes; i++)
        rc = send_tiles(s, i, have.codes, &buffer, err);
    return rc < 0 ? rc : ms_gpu_sync(s->copies, err);
}

int ms_gpu_rows_revalue(ms_gpu_search *s, msim_error *err) {
    int rc = ms_gpu_fill(s->stream, &s->device.report->n_nonfinite, 0,
                         sizeof s->device.report->n_nonfinite, err);
    for (size_t i = 0; i < s->n_spans && rc >= 0; i++)
        rc = ms_row_values_cuda(s->stream, s->spans[i].values, &s->device.report->n_nonfinite,
                                &s->spans[i].rows, s->plan.is_ip, err);
    if (rc >= 0)
        rc = ms_gpu_download(s->stream, s->host.report, s->device.report, sizeof *s->host.report,
                             err);
    if (rc >= 0) rc = ms_gpu_sync(s->stream, err);
    if (rc < 0) return rc;
    s->values_are_ip = s->plan.is_ip;
    s->n_nonfinite = s->host.report->n_nonfinite;
    return MSIM_OK;
}

int ms_gpu_rows_settle(ms_gpu_search *s, msim_error *err) {
    residence have;
    size_t bytes;
    int rc = size_buffers(s, &bytes, err),
        threads = s->limits.threads ? s->limits.threads : s->threads;
    if (rc < 0) return rc;
    if (threads == 0 || threads > MOST_THREADS) threads = MOST_THREADS;
    if (bytes >= s->buffer_bytes * 2 || s->limits.threads)
        rc = ms_pool_open(threads, &s->pool, err);
    if (rc < 0) return rc;
    for (int i = 0; i < MS_GPU_BUFFERS; i++)
        if (!(s->host_buffers[i] =
                  ms_gpu_host_alloc(s->stream, s->buffer_bytes, 1, "a buffer for rows", err)))
            return ms_gpu_failed(err);
    if ((rc = choose_level(s, &have, err)) < 0) return rc;
    s->n_nonfinite = -1;
    s->plan.is_ip = 0;
    rc = send_all(s, have, err);
    if (rc >= 0 && have.has_rows) rc = ms_gpu_rows_revalue(s, err);
    if (rc < 0) return rc;
    if (!needs_buffers(s, have)) give_back_host_buffers(s);
    if (!have.has_rows && !(s->host_gather = ms_gpu_host_alloc(s->stream, s->gather_bytes, 1,
                                                               "a buffer for rows", err)))
        return ms_gpu_failed(err);
    return MSIM_OK;
}

/* ---- Windows ---- */

static int is_resident(const ms_gpu_search *s, int scan) {
    return scan == MSIM_SCAN_INT8   ? s->residence.has_int8
           : scan == MSIM_SCAN_BF16 ? s->residence.has_bf16
                                    : s->residence.has_rows;
}

int ms_gpu_windows_begin(ms_gpu_search *s, msim_error *err) {
    s->cursor =
        (ms_gpu_cursor){.scan = s->plan.scan, .row = s->rows.n ? s->rows.slices[0].first_row : 0};
    return ms_gpu_sync(s->copies, err); /* work that a failed or stopped search left under way */
}

/* Rows of the next window where rows stream, and where they lie if they are resident. */
static void describe(ms_gpu_search *s, const ms_slice *p, int64_t n) {
    ms_gpu_cursor *c = &s->cursor;
    const ms_gpu_span *span = s->spans;
    while (span->end_slice <= c->slice) span++;
    c->window =
        (ms_gpu_window){.rows = span->rows, .first_slice = c->slice, .end_slice = c->slice + 1};
    c->window.rows.first_row = c->row;
    c->window.rows.n_rows = n;
    if (span->rows.data) {
        size_t at = (size_t)(c->row - span->rows.first_row);
        c->window.rows.data = (const unsigned char *)span->rows.data + at * span->rows.row_bytes;
        c->window.values = span->values + at;
    }
    c->row += n;
    if (c->row == p->first_row + p->n_rows && ++c->slice < s->rows.n)
        c->row = s->rows.slices[c->slice].first_row;
}

/* The host's buffer is free: the device has read it, for rounds over that window have ended. */
int ms_gpu_windows_ahead(ms_gpu_search *s, msim_error *err) {
    ms_gpu_cursor *c = &s->cursor;
    if (is_resident(s, c->scan) || c->is_ready || c->slice == s->rows.n) return MSIM_OK;
    const ms_slice *p = &s->rows.slices[c->slice];
    int64_t left = p->first_row + p->n_rows - c->row, row = p->start + (c->row - p->first_row),
            first = c->row, n;
    size_t bytes;
    if (ms_plan_reads_codes(c->scan)) {
        size_t tile_bytes = ms_gpu_tile_bytes(s->rows.dim, c->scan);
        int64_t tile = row / MS_CODES_TILE, before = row % MS_CODES_TILE,
                n_tiles = (int64_t)(s->buffer_bytes / tile_bytes);
        if (n_tiles > (before + left + MS_CODES_TILE - 1) / MS_CODES_TILE)
            n_tiles = (before + left + MS_CODES_TILE - 1) / MS_CODES_TILE;
        n = n_tiles * MS_CODES_TILE - before < left ? n_tiles * MS_CODES_TILE - before : left;
        bytes = (size_t)n_tiles * tile_bytes;
        put_bytes(s, s->host_buffers[c->next],
                  ms_gpu_tiles_of(p->view, c->scan) + (size_t)tile * tile_bytes, bytes);
        describe(s, p, n);
        c->window.tiles = s->buffers[c->next];
        c->window.tiles_row = first - before;
    } else {
        size_t row_bytes = ((size_t)s->rows.dim * ms_dtype_bytes(p->view->dtype) + 15) / 16 * 16;
        n = (int64_t)(s->buffer_bytes / row_bytes) < left ? (int64_t)(s->buffer_bytes / row_bytes)
                                                          : left;
        bytes = (size_t)n * row_bytes;
        put_rows(s, s->host_buffers[c->next], row_bytes, p->view, row, n);
        describe(s, p, n);
        c->window.rows.data = s->buffers[c->next];
        c->window.values = s->buffer_values;
    }
    c->is_ready = 1;
    return send(s, c->next, s->buffers[c->next], bytes, err);
}

int ms_gpu_windows_next(ms_gpu_search *s, ms_gpu_window *out, msim_error *err) {
    ms_gpu_cursor *c = &s->cursor;
    if (is_resident(s, c->scan)) {
        if (c->span == s->n_spans) return 0;
        const ms_gpu_span *span = &s->spans[c->span++];
        *out = (ms_gpu_window){.rows = span->rows,
                               .values = span->values,
                               .first_slice = span->first_slice,
                               .end_slice = span->end_slice};
        return 1;
    }
    int rc = ms_gpu_windows_ahead(s, err);
    if (rc < 0 || !c->is_ready) return rc;
    *out = c->window;
    c->is_ready = 0;
    rc = ms_gpu_stream_wait(s->stream, s->uploaded[c->next], err);
    c->next ^= 1;
    if (rc >= 0 && !ms_plan_reads_codes(c->scan))
        rc = ms_row_values_cuda(s->stream, s->buffer_values, &s->device.report->n_nonfinite,
                                &out->rows, s->plan.is_ip, err);
    return rc < 0 ? rc : 1;
}
