/* The pairs of a join on one CUDA device: see join.h.
 *
 * Right rows come in parts through two slots, each with a stream of its own. While the pairs of one
 * part are scored on the host, the device works on the next. If a list overflows, the part is
 * halved and done again, on one side after the other, down to two tiles, whose pairs always fit. */
#include "kernels/search/join.h"
#include "base/mem.h"
#include "kernels/kernels.h"
#include <assert.h>
#include <string.h>

enum {
    SLOTS = 2,
    MOST_RIGHT = 65536,                         /* rows of a part: what a pair's index holds */
    RIGHT_BYTES = 16 << 20,                     /* of a part's codes, about */
    LEAST_CAP = MS_JOIN_TILE * MS_JOIN_TILE,    /* pairs of two tiles */
    TILE_LEAST = MS_JOIN_TILE * sizeof(int32_t) /* bytes of a tile's least shares */
};

/* Tiles of one side: their codes, then their least shares. */
typedef struct {
    unsigned char *host, *device; /* owned: pinned; of the device */
} buffer;

typedef struct {
    ms_gpu_stream *stream; /* owned */
    unsigned char *left;   /* owned, of the device: the strip's tiles */
    buffer right;
    uint32_t *pairs, *n_pairs; /* owned, of the device: [cap], [1] */
    uint32_t *found, *n_found; /* owned, pinned: the same */
    int64_t first_right;       /* row of the part; below 0: none is under way */
    int64_t n_right;           /* its tiles */
} join_slot;

struct ms_gpu_joiner {
    const ms_join_side *left, *right; /* borrowed */
    size_t components;
    int64_t cap, right_tiles; /* most tiles of a part */
    unsigned char *left_host; /* owned, pinned: the strip's tiles, as they go to each slot */
    int64_t first_left;       /* row of the strip */
    int64_t n_left;           /* its tiles */
    join_slot slots[SLOTS];
};

/* Tiles of a strip and of a part. */
typedef struct {
    int64_t left, n_left, right, n_right;
} area;

/* ---- Memory ---- */

static size_t side_bytes(const ms_gpu_joiner *j, int64_t n_tiles) {
    return (size_t)n_tiles * (ms_join_tile_bytes(j->components) + TILE_LEAST);
}

static int open_slot(ms_gpu_joiner *j, int device, int64_t left_tiles, join_slot *s,
                     msim_error *err) {
    const char *what = "join on CUDA";
    size_t left = side_bytes(j, left_tiles), right = side_bytes(j, j->right_tiles),
           cap = (size_t)j->cap;
    s->first_right = -1;
    int rc = ms_gpu_stream_open(device, &s->stream, err);
    if (rc < 0) return rc;
    if (!(s->left = ms_gpu_alloc(s->stream, left, 1, what, err)) ||
        !(s->right.device = ms_gpu_alloc(s->stream, right, 1, what, err)) ||
        !(s->right.host = ms_gpu_host_alloc(s->stream, right, 1, what, err)) ||
        !(s->pairs = ms_gpu_alloc(s->stream, cap, sizeof *s->pairs, what, err)) ||
        !(s->n_pairs = ms_gpu_alloc(s->stream, 1, sizeof *s->n_pairs, what, err)) ||
        !(s->found = ms_gpu_host_alloc(s->stream, cap, sizeof *s->found, what, err)) ||
        !(s->n_found = ms_gpu_host_alloc(s->stream, 1, sizeof *s->n_found, what, err)))
        return -MSIM_E_MEMORY;
    return MSIM_OK;
}

static void close_slot(join_slot *s) {
    if (!s->stream) return;
    ms_gpu_free(s->stream, s->left);
    ms_gpu_free(s->stream, s->right.device);
    ms_gpu_host_free(s->stream, s->right.host);
    ms_gpu_free(s->stream, s->pairs);
    ms_gpu_free(s->stream, s->n_pairs);
    ms_gpu_host_free(s->stream, s->found);
    ms_gpu_host_free(s->stream, s->n_found);
    ms_gpu_stream_close(s->stream);
}

void ms_gpu_join_close(ms_gpu_joiner *j) {
    if (!j) return;
    if (j->slots[0].stream) ms_gpu_host_free(j->slots[0].stream, j->left_host);
    for (int i = 0; i < SLOTS; i++) close_slot(&j->slots[i]);
    ms_free(j);
}

static void set_sizes(ms_gpu_joiner *j, const ms_gpu_join_limits *limits) {
    int64_t rows = RIGHT_BYTES / (int64_t)j->components / MS_JOIN_TILE * MS_JOIN_TILE;
    if (limits && limits->right_rows) rows = limits->right_rows;
    if (rows > MOST_RIGHT) rows = MOST_RIGHT;
    j->cap = limits && limits->list_cap ? limits->list_cap : MS_JOIN_LIST;
    j->right_tiles = rows / MS_JOIN_TILE;
    if (j->right_tiles > (int64_t)j->right->n_tiles) j->right_tiles = (int64_t)j->right->n_tiles;
    assert(j->cap >= LEAST_CAP && j->cap <= MS_JOIN_LIST && j->right_tiles >= 1);
}

int ms_gpu_join_open(int device, const ms_join_side *left, const ms_join_side *right,
                     const ms_gpu_join_limits *limits, ms_gpu_joiner **out, msim_error *err) {
    ms_gpu_joiner *j = ms_alloc(1, sizeof *j, "join on CUDA", err);
    if (!j) return -MSIM_E_MEMORY;
    assert(left->components && left->components == right->components);
    j->left = left;
    j->right = right;
    j->components = left->components;
    set_sizes(j, limits);
    int64_t left_tiles = MS_JOIN_STRIP / MS_JOIN_TILE;
    if (left_tiles > (int64_t)left->n_tiles) left_tiles = (int64_t)left->n_tiles;
    int rc = MSIM_OK;
    for (int i = 0; i < SLOTS && rc >= 0; i++)
        rc = open_slot(j, device, left_tiles, &j->slots[i], err);
    if (rc >= 0 && !(j->left_host = ms_gpu_host_alloc(j->slots[0].stream, side_bytes(j, left_tiles),
                                                      1, "join on CUDA", err)))
        rc = -MSIM_E_MEMORY;
    if (rc >= 0)
        *out = j;
    else
        ms_gpu_join_close(j);
    return rc;
}

/* ---- Tiles to the device ---- */

/* Tiles as the kernel wants them: its codes are signed. */
static void put_tiles(const ms_gpu_joiner *j, unsigned char *to, const ms_join_side *side,
                      int64_t first_row, int64_t n_tiles) {
    ms_join_rows rows = ms_join_side_tiles(side, (size_t)first_row / MS_JOIN_TILE, (size_t)n_tiles);
    size_t n_bytes = (size_t)n_tiles * ms_join_tile_bytes(j->components);
    for (size_t i = 0; i < n_bytes; i++) to[i] = rows.codes[i] ^ 0x80;
    memcpy(to + n_bytes, rows.least, (size_t)n_tiles * TILE_LEAST);
}

static ms_gpu_join_rows rows_at(const ms_gpu_joiner *j, const unsigned char *tiles, int64_t n_tiles,
                                int64_t first, int64_t n) {
    size_t tile = ms_join_tile_bytes(j->components);
    const unsigned char *least = tiles + (size_t)n_tiles * tile + (size_t)first * TILE_LEAST;
    return (ms_gpu_join_rows){.codes = (const signed char *)tiles + (size_t)first * tile,
                              .least = (const int32_t *)(const void *)least,
                              .n_tiles = n};
}

/* ---- Pairs ---- */

/* Let the device find the pairs of an area, and say how many there are. */
static int begin_area(ms_gpu_joiner *j, join_slot *s, const area *a, msim_error *err) {
    int64_t apart = s->first_right - j->first_left + (a->right - a->left) * MS_JOIN_TILE;
    ms_gpu_join join = {
        .left = rows_at(j, s->left, j->n_left, a->left, a->n_left),
        .right = rows_at(j, s->right.device, s->n_right, a->right, a->n_right),
        .components = (int64_t)j->components,
        .diagonal = j->left == j->right ? apart : MS_GPU_JOIN_NO_DIAGONAL,
        .left_first = a->left * MS_JOIN_TILE,
        .right_first = a->right * MS_JOIN_TILE,
        .pairs = s->pairs,
        .n_pairs = s->n_pairs,
        .cap = (uint32_t)j->cap,
    };
    int rc = ms_gpu_fill(s->stream, s->n_pairs, 0, sizeof *s->n_pairs, err);
    if (rc >= 0) rc = ms_join_codes_cuda(s->stream, &join, err);
    if (rc >= 0) rc = ms_gpu_download(s->stream, s->n_found, s->n_pairs, sizeof *s->n_found, err);
    return rc;
}

/* One half of an area: the longer side is halved. */
static area half_of(const area *a, int which) {
    area h = *a;
    int64_t *first = a->n_left > a->n_right ? &h.left : &h.right,
            *n = a->n_left > a->n_right ? &h.n_left : &h.n_right;
    int64_t n_first = *n / 2;
    if (which) *first += n_first;
    *n = which ? *n - n_first : n_first;
    return h;
}

/* Pass on what was begun. Sets *has_ended if `take` ends the strip. */
static int end_area(ms_gpu_joiner *j, join_slot *s, const area *a, ms_join_take take, void *user,
                    int *has_ended, msim_error *err) {
    int rc = ms_gpu_sync(s->stream, err);
    if (rc < 0) return rc;
    ms_join_found found = {.pairs = s->found, .n = *s->n_found, .right = s->first_right};
    if (found.n == 0) return MSIM_OK;
    if (found.n > (size_t)j->cap) {
        for (int i = 0; i < 2 && rc >= 0 && !*has_ended; i++) {
            area half = half_of(a, i);
            rc = begin_area(j, s, &half, err);
            if (rc >= 0) rc = end_area(j, s, &half, take, user, has_ended, err);
        }
        return rc;
    }
    rc = ms_gpu_download(s->stream, s->found, s->pairs, found.n * sizeof *s->found, err);
    if (rc >= 0) rc = ms_gpu_sync(s->stream, err);
    if (rc >= 0) *has_ended = take(user, &found) != 0;
    return rc;
}

static area whole(const ms_gpu_joiner *j, const join_slot *s) {
    return (area){.n_left = j->n_left, .n_right = s->n_right};
}

static int begin_part(ms_gpu_joiner *j, join_slot *s, int64_t first, int64_t n_tiles,
                      msim_error *err) {
    s->first_right = first;
    s->n_right = n_tiles;
    put_tiles(j, s->right.host, j->right, first, n_tiles);
    area a = whole(j, s);
    int rc = ms_gpu_upload(s->stream, s->right.device, s->right.host, side_bytes(j, n_tiles), err);
    return rc < 0 ? rc : begin_area(j, s, &a, err);
}

static int end_part(ms_gpu_joiner *j, join_slot *s, ms_join_take take, void *user, int *has_ended,
                    msim_error *err) {
    area a = whole(j, s);
    if (s->first_right < 0 || *has_ended) return MSIM_OK;
    int rc = end_area(j, s, &a, take, user, has_ended, err);
    s->first_right = -1;
    return rc;
}

static int64_t tiles_of(int64_t first, int64_t end) {
    return (end - first + MS_JOIN_TILE - 1) / MS_JOIN_TILE;
}

static int begin_strip(ms_gpu_joiner *j, const ms_join_strip *strip, msim_error *err) {
    int rc = MSIM_OK;
    j->first_left = strip->left;
    j->n_left = tiles_of(strip->left, strip->left_end);
    put_tiles(j, j->left_host, j->left, strip->left, j->n_left);
    for (int i = 0; i < SLOTS && rc >= 0; i++)
        rc = ms_gpu_upload(j->slots[i].stream, j->slots[i].left, j->left_host,
                           side_bytes(j, j->n_left), err);
    return rc;
}

int ms_gpu_join_find(ms_gpu_joiner *j, const ms_join_strip *strip, ms_join_take take, void *user,
                     msim_error *err) {
    int has_ended = 0, i = 0;
    int64_t left = tiles_of(strip->right, strip->right_end), first = strip->right;
    int rc = begin_strip(j, strip, err);
    for (; left > 0 && rc >= 0 && !has_ended; i = !i) {
        int64_t n = left < j->right_tiles ? left : j->right_tiles;
        rc = begin_part(j, &j->slots[i], first, n, err);
        if (rc >= 0) rc = end_part(j, &j->slots[!i], take, user, &has_ended, err);
        first += n * MS_JOIN_TILE;
        left -= n;
    }
    if (rc >= 0) rc = end_part(j, &j->slots[!i], take, user, &has_ended, err);
    for (i = 0; i < SLOTS; i++) { /* pinned memory is free again, whatever happened */
        int waited = ms_gpu_sync(j->slots[i].stream, rc >= 0 ? err : NULL);
        if (rc >= 0) rc = waited;
        j->slots[i].first_right = -1;
    }
    return rc;
}
