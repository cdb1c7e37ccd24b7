/* Finds the space of a join and makes codes in it: see space.h. */
#include "search/join/space.h"
#include "base/mem.h"
#include "base/random.h"
#include "search/bound.h"
#include "search/join/basis.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_ROWS = 8192, /* fewer are joined sooner than a basis is found */
    PAIRS = 16384,     /* of the sample, whose distances choose the number of components */
    VALUES = 16384,    /* of the sample, which choose the step */
    BEYOND = 8,        /* of these, codes cut off so many: it only costs distance */
    CODE_MAX = 127
};
#define SEED 20261130u
#define TINY 1e-12       /* more than the roundings of doubles here */
#define LEAST_STEP 1e-18 /* where all rows are the same */

/* The sample behind a map: n columns of values [MS_BASIS_ROWS][width]. */
typedef struct {
    const float *values;
    size_t width, n;
    double step;
} candidate;

static size_t whole_steps(size_t n) { return (n + MS_JOIN_STEP - 1) / MS_JOIN_STEP * MS_JOIN_STEP; }

static int by_size(const void *a, const void *b) {
    float x = fabsf(*(const float *)a), y = fabsf(*(const float *)b);
    return x > y ? -1 : x < y;
}

/* The step at which almost all components fit a code. values [VALUES] is scratch. */
static double find_step(const candidate *c, float *values) {
    for (size_t i = 0; i < VALUES; i++)
        values[i] = c->values[ms_random_at(SEED, i) % MS_BASIS_ROWS * c->width +
                              ms_random_at(SEED + 1, i) % c->n];
    qsort(values, VALUES, sizeof *values, by_size);
    double step = fabsf(values[BEYOND]) / (double)CODE_MAX;
    return step > LEAST_STEP ? step : LEAST_STEP;
}

/* About what a pair costs, in products of MS_JOIN_STEP components: the product of the codes, and
 * the share of pairs that are scored. */
static double cost_of(const candidate *c, double reach, const ms_join_kernels *kernels) {
    double most = reach + 2 * c->step * sqrt((double)c->n / 12);
    size_t n_scored = 0;
    for (size_t p = 0; p < PAIRS; p++) {
        size_t i = (size_t)(ms_random_at(SEED + 2, p) % MS_BASIS_ROWS),
               k = (i + 1 + (size_t)(ms_random_at(SEED + 3, p) % (MS_BASIS_ROWS - 1))) %
                   MS_BASIS_ROWS;
        double square = 0;
        for (size_t j = 0; j < c->n; j++) {
            double d = (double)c->values[i * c->width + j] - c->values[k * c->width + j];
            square += d * d;
        }
        n_scored += square <= most * most;
    }
    return (double)(whole_steps(c->n) / MS_JOIN_STEP) +
           (double)n_scored / PAIRS * (double)kernels->steps_per_score;
}

/* The rows' own components, or a map to as many as cost least. */
static candidate choose(const ms_basis *b, double reach, float *scratch) {
    candidate best = {b->rows, b->dim, b->dim, 0};
    if (best.n > MS_JOIN_MOST_COMPONENTS) best.n = MS_JOIN_MOST_COMPONENTS;
    best.step = find_step(&best, scratch);
    if (b->n_columns == 0) return best;
    candidate mapped = {b->mapped, b->n_columns, MS_JOIN_STEP, 0};
    mapped.step = find_step(&mapped, scratch);
    double least = cost_of(&best, reach, b->kernels);
    for (; mapped.n <= b->n_columns; mapped.n += MS_JOIN_STEP) {
        double cost = cost_of(&mapped, reach, b->kernels);
        if (cost >= least) continue;
        least = cost;
        best = mapped;
    }
    return best;
}

/* Rounding: a component of a unit row, its products and their sum, and taking off the shift. */
static double slack_of(size_t dim, size_t components, bool has_map) {
    return sqrt((double)components) * ms_bound_gamma((has_map ? dim : 0) + 8) * 1.01 + TINY;
}

static int take_map(ms_join_space *s, const ms_basis *b, msim_error *err) {
    size_t n = s->components;
    s->map = ms_alloc(s->dim * n, sizeof *s->map, "space of a join", err);
    if (!s->map) return -MSIM_E_MEMORY;
    for (size_t j = 0; j < s->dim; j++)
        memcpy(s->map + j * n, b->basis + j * b->n_columns, n * sizeof *s->map);
    for (size_t c = 0; c < n; c++) {
        double at = 0;
        for (size_t j = 0; j < s->dim; j++) at += (double)b->mean[j] * s->map[j * n + c];
        s->shift[c] = (float)at;
    }
    s->reach *= ms_basis_stretch(b, n);
    return MSIM_OK;
}

static int fill(ms_join_space *s, const ms_basis *b, msim_error *err) {
    float *scratch = ms_alloc(VALUES, sizeof *scratch, "space of a join", err);
    if (!scratch) return -MSIM_E_MEMORY;
    candidate c = choose(b, s->reach, scratch);
    ms_free(scratch);
    bool has_map = c.values == b->mapped;
    s->components = whole_steps(c.n);
    s->step = c.step;
    s->slack = slack_of(s->dim, s->components, has_map);
    s->shift = ms_alloc(s->components, sizeof *s->shift, "space of a join", err);
    if (!s->shift) return -MSIM_E_MEMORY;
    if (has_map) return take_map(s, b, err);
    memcpy(s->shift, b->mean, c.n * sizeof *s->shift);
    return MSIM_OK;
}

int ms_join_space_open(ms_join_space *s, const ms_join_kernels *kernels, const ms_slices *a,
                       const ms_slices *b, double threshold, msim_error *err) {
    ms_basis basis;
    double least = threshold - ms_bound_tau((size_t)a->dim) - TINY;
    int64_t most_rows = a->n_rows > b->n_rows ? a->n_rows : b->n_rows;
    *s = (ms_join_space){.kernels = kernels, .dim = (size_t)a->dim};
    /* unit rows of cosine c are sqrt(2 - 2 c) apart, and no two are further apart than 2 */
    s->reach = least >= 1 ? 0 : least <= -1 ? 2 : sqrt(2 - 2 * least);
    s->reach = s->reach * (1 + TINY) + TINY;
    int rc = ms_basis_open(&basis, kernels, a, b, most_rows >= LEAST_ROWS, err);
    if (rc < 0) return rc;
    rc = fill(s, &basis, err);
    ms_basis_close(&basis);
    if (rc < 0) ms_join_space_close(s);
    return rc;
}

void ms_join_space_close(ms_join_space *s) {
    ms_free(s->map);
    ms_free(s->shift);
    *s = (ms_join_space){0};
}

/* ---- Codes ---- */

/* The codes of one row, written into its lane, and its numbers. */
static ms_join_numbers encode_row(const ms_join_space *s, const float *at, size_t n,
                                  unsigned char *lane) {
    double rest = 0, inverse = 1 / s->step, most = CODE_MAX * s->step;
    int64_t square = 0, sum = 0;
    for (size_t c = 0; c < s->components; c++) {
        float moved = c < n ? at[c] - s->shift[c] : 0.0f;
        double x = moved > most ? most : moved < -most ? -most : moved;
        int z = (int)rint(x * inverse);
        double e = x - s->step * z;
        rest += e * e;
        square += z * z;
        sum += z;
        lane[c / MS_JOIN_GROUP * MS_JOIN_TILE * MS_JOIN_GROUP + c % MS_JOIN_GROUP] =
            (unsigned char)(z + 128);
    }
    double rho = sqrt(rest) * (1 + 1e-9) + s->slack;
    double share = (2 * s->reach * rho + 2 * rho * rho + s->reach * s->reach / 2) /
                   (2 * s->step * s->step) * (1 + TINY);
    double least = floor((double)square / 2 - share - 1e-3);
    return (ms_join_numbers){least > MS_JOIN_ALWAYS ? (int32_t)least : MS_JOIN_ALWAYS,
                             (int32_t)sum};
}

void ms_join_space_encode(const ms_join_space *s, const float *rows, unsigned char *codes,
                          ms_join_numbers *numbers, float *scratch) {
    const float *at = rows;
    size_t width = s->dim, n = s->dim < s->components ? s->dim : s->components;
    if (s->map) {
        s->kernels->project(scratch, rows, s->map, s->dim, s->components);
        at = scratch;
        width = n = s->components;
    }
    for (size_t r = 0; r < MS_JOIN_TILE; r++)
        numbers[r] = encode_row(s, at + r * width, n, codes + r * MS_JOIN_GROUP);
}
