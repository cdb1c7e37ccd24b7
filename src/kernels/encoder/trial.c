/* kernels/encoder/trial.h. One block of device memory holds the inputs, repeated to the number of
 * rows that is timed, and room for one result; the host keeps the results that are compared. */
#include "kernels/encoder/trial.h"
#include "base/mem.h"
#include "model/constants.h"
#include <math.h>

enum { TRIAL_ROWS = 320, TRIAL_POSITIONS = 64, TIMED_RUNS = 2 };

/* Numbers of rows whose bits are compared: around the sizes of tiles, which an algorithm is free to
 * treat in ways of its own, fewer than any, and many. */
static const int64_t other_rows[] = {1,   2,   7,   16,  17,  37,  63,  64,  65,  96,
                                     127, 128, 129, 191, 192, 193, 255, 256, 257, 5123};

/* Results on the host. */
enum { SLOT_OURS, SLOT_FIRST, SLOT_THIS, SLOT_FEW, SLOTS };

typedef struct {
    ms_gpu_stream *stream; /* borrowed */
    ms_gpu_gemm g;
    size_t in_bytes, item, out_bytes; /* out_bytes: of TRIAL_ROWS rows */
    unsigned char *device;            /* owned: inputs, then room for a result of TIMED rows */
    unsigned char *host;              /* owned: inputs, then SLOTS results */
} trial;

int ms_gpu_library_multiply(ms_gpu_stream *s, ms_gpu_blaslt_plan *plan, const ms_gpu_gemm *g,
                            msim_error *err) {
    const void *bias = g->epilogue == MS_GPU_ADD ? (const void *)g->bias : g->bias_bf16;
    int rc = ms_gpu_blaslt_multiply(plan, g->dst, g->a, g->w, g->bias ? bias : NULL, g->m, err);
    if (rc >= 0 && g->epilogue == MS_GPU_GELU) rc = ms_gelu_bf16_cuda(s, g->dst, g->m * g->n, err);
    if (rc >= 0 && g->epilogue == MS_GPU_ROTATE)
        rc = ms_rotate_bf16_cuda(s, g->dst, g->cos, g->sin, g->positions, g->m,
                                 g->rotated / (2 * MS_HEAD_DIM), err);
    return rc;
}

/* ---- Inputs ---- */

static size_t round_up(size_t n) { return (n + 255) / 256 * 256; }

/* -1 .. 1, the same on every machine. */
static float next_value(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-31f;
}

/* Where the inputs lie in their block: a has MS_GPU_TRIAL_TIMED rows, the first TRIAL_ROWS of them
 * from the host. */
typedef struct {
    size_t w, bias, bias_bf16, cosine, sine, positions, a, end;
} places;

static places find_places(const ms_gpu_gemm *g) {
    size_t n = (size_t)g->n, k = (size_t)g->k,
           table = TRIAL_POSITIONS * MS_ROTARY_PAIRS * sizeof(float);
    places at = {.w = 0};
    at.bias = round_up(n * k * sizeof(ms_bf16));
    at.bias_bf16 = at.bias + round_up(n * sizeof(float));
    at.cosine = at.bias_bf16 + round_up(n * sizeof(ms_bf16));
    at.sine = at.cosine + table;
    at.positions = at.sine + table;
    at.a = at.positions + round_up(MS_GPU_TRIAL_TIMED * sizeof(int32_t));
    at.end = at.a + round_up(TRIAL_ROWS * k * sizeof(ms_bf16));
    return at;
}

/* The host's inputs; biases are values of bf16, as a model's are. */
static void fill_inputs(const trial *t, places at) {
    uint32_t state = 1;
    ms_bf16 *a = (void *)(t->host + at.a), *w = (void *)(t->host + at.w),
            *bias_bf16 = (void *)(t->host + at.bias_bf16);
    float *bias = (void *)(t->host + at.bias), *cosine = (void *)(t->host + at.cosine),
          *sine = (void *)(t->host + at.sine);
    int32_t *positions = (void *)(t->host + at.positions);
    for (int64_t i = 0; i < TRIAL_ROWS * t->g.k; i++) a[i] = ms_bf16_of_f32(next_value(&state));
    for (int64_t i = 0; i < t->g.n * t->g.k; i++) w[i] = ms_bf16_of_f32(next_value(&state));
    for (int64_t i = 0; i < t->g.n; i++) {
        bias_bf16[i] = ms_bf16_of_f32(next_value(&state));
        bias[i] = ms_f32_of_bf16(bias_bf16[i]);
    }
    for (int i = 0; i < TRIAL_POSITIONS * MS_ROTARY_PAIRS; i++) {
        cosine[i] = cosf((float)i);
        sine[i] = sinf((float)i);
    }
    for (int i = 0; i < MS_GPU_TRIAL_TIMED; i++) positions[i] = i % TRIAL_ROWS % TRIAL_POSITIONS;
}

/* Row r of a is row r % TRIAL_ROWS. */
static int repeat_rows(const trial *t, unsigned char *a, msim_error *err) {
    size_t row = (size_t)t->g.k * sizeof(ms_bf16);
    int rc = MSIM_OK;
    for (int64_t at = TRIAL_ROWS; at < MS_GPU_TRIAL_TIMED && rc >= 0; at += TRIAL_ROWS) {
        int64_t n = MS_GPU_TRIAL_TIMED - at < TRIAL_ROWS ? MS_GPU_TRIAL_TIMED - at : TRIAL_ROWS;
        rc = ms_gpu_copy(t->stream, a + (size_t)at * row, a, (size_t)n * row, err);
    }
    return rc;
}

static int open_trial(trial *t, ms_gpu_stream *s, const ms_gpu_gemm *shape, msim_error *err) {
    places at = find_places(shape);
    *t = (trial){.stream = s,
                 .g = *shape,
                 .in_bytes = at.a +
                             round_up(MS_GPU_TRIAL_TIMED * (size_t)shape->k * sizeof(ms_bf16)),
                 .item = shape->epilogue == MS_GPU_ADD ? sizeof(float) : sizeof(ms_bf16)};
    t->out_bytes = TRIAL_ROWS * (size_t)shape->n * t->item;
    t->device = ms_gpu_alloc(s, t->in_bytes + MS_GPU_TRIAL_TIMED * (size_t)shape->n * t->item, 1,
                             "trial of a product", err);
    t->host = t->device ? ms_alloc(at.end + SLOTS * t->out_bytes, 1, "trial of a product", err)
                        : NULL;
    if (!t->host) return -MSIM_E_MEMORY;
    t->g.a = (void *)(t->device + at.a);
    t->g.w = (void *)(t->device + at.w);
    t->g.bias = shape->bias ? (void *)(t->device + at.bias) : NULL;
    t->g.bias_bf16 = shape->bias ? (void *)(t->device + at.bias_bf16) : NULL;
    t->g.cos = (void *)(t->device + at.cosine);
    t->g.sin = (void *)(t->device + at.sine);
    t->g.positions = (void *)(t->device + at.positions);
    t->g.dst = t->device + t->in_bytes;
    fill_inputs(t, at);
    int rc = ms_gpu_upload(s, t->device, t->host, at.end, err);
    return rc >= 0 ? repeat_rows(t, t->device + at.a, err) : rc;
}

/* ---- Runs ---- */

static unsigned char *result_bytes(const trial *t, int slot) {
    return t->host + find_places(&t->g).end + (size_t)slot * t->out_bytes;
}

/* m rows by the plan (NULL: by our kernel), of which TRIAL_ROWS from `first` on come back as result
 * `slot`. What is not written stays NaN, or 0 at
 * ADD. */
static int run_rows(const trial *t, ms_gpu_blaslt_plan *plan, int64_t m, int64_t first, int slot,
                    msim_error *err) {
    ms_gpu_gemm g = t->g;
    g.m = m;
    size_t row = (size_t)g.n * t->item;
    int rc = ms_gpu_fill(t->stream, g.dst, g.epilogue == MS_GPU_ADD ? 0 : 0xff,
                         (size_t)(first + TRIAL_ROWS) * row, err);
    if (rc >= 0)
        rc = plan ? ms_gpu_library_multiply(t->stream, plan, &g, err)
                  : ms_gemm_bf16_cuda(t->stream, &g, err);
    if (rc >= 0)
        rc = ms_gpu_download(t->stream, result_bytes(t, slot), (char *)g.dst + (size_t)first * row,
                             t->out_bytes, err);
    return rc >= 0 ? ms_gpu_sync(t->stream, err) : rc;
}

static float result_at(const trial *t, int slot, int64_t row, int64_t col) {
    const void *at = result_bytes(t, slot);
    int64_t i = row * t->g.n + col;
    return t->g.epilogue == MS_GPU_ADD ? ((const float *)at)[i]
                                       : ms_f32_of_bf16(((const ms_bf16 *)at)[i]);
}

/* The plan's values against our kernel's. Before the last rounding a value differs by two roundings
 * to bf16 and by the order of its sum, and GELU or a rotation stretches that by at most 1.42; with
 * the last ones it is under 5 x 2^-9 of the largest of its row, and the order of 2,048 summands
 * under 2^-8 of that, if each of them rounds to the same side. */
static int compare_values(const trial *t, msim_error *err) {
    for (int64_t i = 0; i < TRIAL_ROWS; i++) {
        float most = 0.0f;
        for (int64_t j = 0; j < t->g.n; j++)
            most = fmaxf(most, fabsf(result_at(t, SLOT_OURS, i, j)));
        for (int64_t j = 0; j < t->g.n; j++) {
            float ours = result_at(t, SLOT_OURS, i, j), theirs = result_at(t, SLOT_FIRST, i, j);
            if (!(fabsf(ours - theirs) <= 0x1p-6f * most))
                return ms_fail(
                    err, MSIM_E_DEVICE,
                    "cuBLASLt: n %lld, k %lld: row %lld, column %lld: expected %g, got %g",
                    (long long)t->g.n, (long long)t->g.k, (long long)i, (long long)j, (double)ours,
                    (double)theirs);
        }
    }
    return MSIM_OK;
}

/* m rows give the bits of TRIAL_ROWS rows, of which row r % TRIAL_ROWS is row r. The last
 * TRIAL_ROWS of them are looked at, or all. */
static int compare_rows(const trial *t, ms_gpu_blaslt_plan *plan, int64_t m, msim_error *err) {
    int64_t first = m > TRIAL_ROWS ? m - TRIAL_ROWS : 0, n = m < TRIAL_ROWS ? m : TRIAL_ROWS;
    size_t row = t->out_bytes / TRIAL_ROWS, shift = (size_t)(first % TRIAL_ROWS),
           whole = (size_t)n - shift;
    int rc = run_rows(t, plan, m, first, SLOT_FEW, err);
    const unsigned char *once = result_bytes(t, SLOT_FIRST), *here = result_bytes(t, SLOT_FEW);
    if (rc < 0 || (memcmp(once + shift * row, here, whole * row) == 0 &&
                   memcmp(once, here + whole * row, shift * row) == 0))
        return rc;
    return ms_fail(err, MSIM_E_UNSUPPORTED,
                   "cuBLASLt: n %lld, k %lld: %lld rows: the bits differ from those of %d rows",
                   (long long)t->g.n, (long long)t->g.k, (long long)m, TRIAL_ROWS);
}

/* Whether the bits of a row are the same for every number of rows. */
static int check_steady(const trial *t, ms_gpu_blaslt_plan *plan, msim_error *err) {
    int rc = MSIM_OK;
    for (size_t i = 0; i < sizeof other_rows / sizeof *other_rows && rc >= 0; i++)
        rc = compare_rows(t, plan, other_rows[i], err);
    return rc;
}

/* Best of some runs of many rows; below 0: not known. */
static double time_algorithm(const trial *t, ms_gpu_blaslt_plan *plan, ms_gpu_event *from,
                             ms_gpu_event *to) {
    ms_gpu_gemm g = t->g;
    double best = -1.0;
    g.m = MS_GPU_TRIAL_TIMED;
    for (int i = 0; i <= TIMED_RUNS; i++) { /* the first is to warm up */
        if (ms_gpu_event_record(from, t->stream, NULL) < 0 ||
            ms_gpu_library_multiply(t->stream, plan, &g, NULL) < 0 ||
            ms_gpu_event_record(to, t->stream, NULL) < 0 || ms_gpu_event_wait(to, NULL) < 0)
            return -1.0;
        double took = ms_gpu_event_seconds(from, to);
        if (i > 0 && took >= 0 && (best < 0 || took < best)) best = took;
    }
    return best;
}

/* ---- All algorithms ---- */

enum verdict { UNTRIED, WRONG, UNSTEADY, APART, AGREES };

typedef struct {
    const trial *t;
    ms_gpu_blaslt_plan *plan;
    ms_gpu_event *from, *to; /* owned */
    int n;
    enum verdict verdicts[MS_GPU_BLASLT_ALGORITHMS];
    double seconds[MS_GPU_BLASLT_ALGORITHMS]; /* where it agrees; below 0: not known */
    msim_error why;                           /* of the first that does not serve */
    int rc;                                   /* its code; 0: none yet */
} contest;

/* Note that algorithm i does not serve. A failure that is not the algorithm's own ends the contest.
 * */
static int turn_down(contest *c, int i, enum verdict verdict, int rc, const msim_error *why) {
    c->verdicts[i] = verdict;
    if (c->rc >= 0) {
        c->why = *why;
        c->rc = rc;
    }
    if (rc != -MSIM_E_MEMORY && ms_gpu_sync(c->t->stream, NULL) >= 0) return MSIM_OK;
    c->why = *why;
    return rc;
}

/* Algorithm `first` has run: which of those behind it have its bits, and how long those take. */
static int find_group(contest *c, int first) {
    for (int i = first; i < c->n; i++) {
        msim_error why;
        if (c->verdicts[i] == WRONG || c->verdicts[i] == UNSTEADY) continue;
        ms_gpu_blaslt_plan_use(c->plan, i);
        int rc = i == first ? MSIM_OK : run_rows(c->t, c->plan, TRIAL_ROWS, 0, SLOT_THIS, &why);
        if (rc < 0) {
            if ((rc = turn_down(c, i, WRONG, rc, &why)) < 0) return rc;
            continue;
        }
        bool agrees = i == first || memcmp(result_bytes(c->t, SLOT_FIRST),
                                           result_bytes(c->t, SLOT_THIS), c->t->out_bytes) == 0;
        c->verdicts[i] = agrees ? AGREES : APART;
        if (agrees) c->seconds[i] = time_algorithm(c->t, c->plan, c->from, c->to);
    }
    return MSIM_OK;
}

static int fastest(const contest *c) {
    int best = -1;
    for (int i = 0; i < c->n; i++)
        if (c->verdicts[i] == AGREES &&
            (best < 0 || (c->seconds[i] >= 0 && c->seconds[i] < c->seconds[best])))
            best = i;
    return best;
}

/* The place of the chosen algorithm, or the error of the first that does not serve. Which group of
 * equal bits is taken does not depend on the clock: the first one with an algorithm that is steady.
 * */
static int choose(contest *c) {
    for (int first = 0; first < c->n; first++) {
        msim_error why;
        int rc, i;
        if (c->verdicts[first] != UNTRIED && c->verdicts[first] != APART) continue;
        ms_gpu_blaslt_plan_use(c->plan, first);
        rc = run_rows(c->t, c->plan, TRIAL_ROWS, 0, SLOT_FIRST, &why);
        if (rc >= 0) rc = compare_values(c->t, &why);
        if (rc < 0) {
            if ((rc = turn_down(c, first, WRONG, rc, &why)) < 0) return rc;
            continue;
        }
        if ((rc = find_group(c, first)) < 0) return rc;
        while ((i = fastest(c)) >= 0) {
            ms_gpu_blaslt_plan_use(c->plan, i);
            if ((rc = check_steady(c->t, c->plan, &why)) >= 0) return i;
            if ((rc = turn_down(c, i, UNSTEADY, rc, &why)) < 0) return rc;
        }
    }
    return c->rc;
}

static void count_verdicts(const contest *c, int chosen, ms_gpu_trial *out) {
    for (int i = 0; i < c->n; i++) {
        out->n_wrong += c->verdicts[i] == WRONG;
        out->n_unsteady += c->verdicts[i] == UNSTEADY;
        out->n_apart += c->verdicts[i] == APART;
        out->n_agreeing += c->verdicts[i] == AGREES;
    }
    if (chosen >= 0) out->seconds = c->seconds[chosen];
}

int ms_gpu_trial_run(ms_gpu_stream *s, ms_gpu_blaslt_plan *plan, const ms_gpu_gemm *shape,
                     ms_gpu_trial *out, msim_error *err) {
    trial t = {.device = NULL};
    contest c = {.t = &t, .plan = plan, .n = ms_gpu_blaslt_plan_counts(plan).n_kept};
    *out = (ms_gpu_trial){.seconds = -1.0};
    int rc = open_trial(&t, s, shape, err);
    if (rc >= 0) rc = ms_gpu_event_open(s, &c.from, err);
    if (rc >= 0) rc = ms_gpu_event_open(s, &c.to, err);
    if (rc >= 0) rc = run_rows(&t, NULL, TRIAL_ROWS, 0, SLOT_OURS, err);
    if (rc >= 0 && (rc = choose(&c)) < 0 && err) *err = c.why;
    count_verdicts(&c, rc, out);
    if (rc >= 0) ms_gpu_blaslt_plan_use(plan, rc);
    ms_gpu_free(s, t.device); /* waits for what reads either block */
    ms_free(t.host);
    ms_gpu_event_close(c.from);
    ms_gpu_event_close(c.to);
    return rc < 0 ? rc : MSIM_OK;
}
