/* Verification: see verify.h. */
#include "notes/find/verify.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLOPE_POINTS = 10, NO_NOTE = -1 };

/* Points of the time map, ms. */
typedef struct {
    double x, y;
} point;

typedef struct {
    const ms_chain *chain;
    const ms_probe *query;
    const ms_target *target;
    uint8_t *used;
    point *points; /* [n_points], x ascending */
    size_t n_points;
    size_t segment;     /* where the last mapping was */
    size_t window;      /* first target note that may be near */
    int32_t *partner;   /* [canon.n] target note, or NO_NOTE */
    size_t first, last; /* query notes looked at: first .. last - 1 */
    bool is_stopped;    /* by the caller: there is no result */
} verifying;

void ms_verify_free(ms_verify_memory *memory) {
    ms_free(memory->used);
    *memory = (ms_verify_memory){0};
}

int ms_verify_compare(const void *a, const void *b) {
    const ms_verified *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->n_pairs != y->n_pairs) return x->n_pairs > y->n_pairs ? -1 : 1;
    if (x->residual_ms != y->residual_ms) return x->residual_ms < y->residual_ms ? -1 : 1;
    if (x->piece != y->piece) return x->piece < y->piece ? -1 : 1;
    if (x->transpose != y->transpose) return x->transpose < y->transpose ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

/* ---- The time map ---- */

static void add_point(verifying *v, double x, double y) {
    if (v->n_points > 0 && v->points[v->n_points - 1].x >= x) return;
    v->points[v->n_points++] = (point){x, y};
}

static void make_map(verifying *v) {
    const ms_anchor *a = v->chain->anchors;
    for (size_t i = 0; i < v->chain->n; i++)
        add_point(v, v->query->canon.time[a[i].query], v->target->time[a[i].target]);
    const ms_anchor *end =
        &a[v->chain->n - 1]; /* the end of the last word; spans have 40 ms more */
    add_point(v, v->query->canon.time[end->query] + (double)end->query_span - 40,
              v->target->time[end->target] + (double)end->span - 40);
}

static double slope_between(const point *a, const point *b) {
    return b->x > a->x ? (b->y - a->y) / (b->x - a->x) : 1;
}

static double map_inside(verifying *v, double x) {
    while (v->segment + 2 < v->n_points && v->points[v->segment + 1].x <= x) v->segment++;
    const point *a = &v->points[v->segment];
    if (v->n_points == 1) return a->y + (x - a->x);
    return a->y + (x - a->x) * slope_between(a, a + 1);
}

/* ---- Partners ---- */

/* The nearest target note of that pitch within MS_NEAR_MS that has no partner. */
static int32_t nearest(verifying *v, int pitch, double time) {
    const ms_target *t = v->target;
    const double from = time - MS_NEAR_MS, to = time + MS_NEAR_MS;
    double best = MS_NEAR_MS + 1;
    int32_t note = NO_NOTE;
    while (v->window > 0 && t->time[v->window - 1] >= from) v->window--;
    while (v->window < t->n && t->time[v->window] < from) v->window++;
    for (size_t i = v->window; i < t->n && t->time[i] <= to; i++) {
        const double distance = fabs(t->time[i] - time);
        if (t->pitch[i] != pitch || v->used[i] || distance >= best) continue;
        best = distance;
        note = (int32_t)i;
    }
    return note;
}

static void pair_note(verifying *v, size_t note, double time) {
    if (note % 256 == 0) v->is_stopped |= ms_stop_is_asked(v->query->stop);
    v->partner[note] = nearest(v, v->query->canon.pitch[note] + v->chain->transpose, time);
    if (v->partner[note] != NO_NOTE) v->used[v->partner[note]] = 1;
}

static float note_score(const verifying *v, size_t note) {
    return v->partner[note] == NO_NOTE ? -MS_UNMATCHED_BITS : v->query->bits[note];
}

/* The notes whose time the chain covers. The map is not bent towards them: that made it slip. */
static float pair_inside(verifying *v) {
    const uint32_t *time = v->query->canon.time;
    const double end = v->points[v->n_points - 1].x;
    float sum = 0;
    v->first = v->chain->anchors[0].query;
    while (v->first > 0 && time[v->first - 1] == time[v->first]) v->first--;
    for (v->last = v->first; v->last < v->query->canon.n && time[v->last] <= end && !v->is_stopped;
         v->last++) {
        pair_note(v, v->last, map_inside(v, time[v->last]));
        sum += note_score(v, v->last);
    }
    return sum;
}

/* Go on beyond an end of the chain at the slope of its last points, drifting with what is met,
 * until the sum is MS_DROP below its best. */
static void pair_outside(verifying *v, bool is_forward, float sum) {
    const uint32_t *time = v->query->canon.time;
    const size_t n = v->n_points, reach = n < SLOPE_POINTS ? n : SLOPE_POINTS;
    const point *end = is_forward ? &v->points[n - 1] : v->points;
    const double slope = is_forward ? slope_between(&v->points[n - reach], end)
                                    : slope_between(end, &v->points[reach - 1]);
    double drift = 0;
    float best = sum;
    while ((is_forward ? v->last < v->query->canon.n : v->first > 0) && !v->is_stopped) {
        const size_t note = is_forward ? v->last++ : --v->first;
        const double at = end->y + ((double)time[note] - end->x) * slope + drift;
        pair_note(v, note, at);
        if (v->partner[note] != NO_NOTE)
            drift += MS_DRIFT * (v->target->time[v->partner[note]] - at);
        sum += note_score(v, note);
        if (sum > best) best = sum;
        if (sum < best - MS_DROP) return;
    }
}

/* ---- The best stretch ---- */

typedef struct {
    float sum, best;
    size_t begin, first, last; /* of the run; of the best run */
} best_run;

static void run_add(best_run *r, size_t i, float score) {
    if (r->sum <= 0) {
        r->sum = 0;
        r->begin = i;
    }
    r->sum += score;
    if (r->sum <= r->best) return;
    r->best = r->sum;
    r->first = r->begin;
    r->last = i;
}

/* What the target plays between two matches costs, unless the query is a tune: then the rest of a
 * texture is no fault, but a tune lies on top of it. */
static float skipped_cost(const verifying *v, int32_t here, int32_t last) {
    const uint32_t *time = v->target->time;
    const size_t i = (size_t)here;
    if (v->query->is_thin) {
        if (i == 0 || time[i - 1] != time[i]) return 0;
        return i + 1 < v->target->n && time[i + 1] == time[i] ? MS_INNER_BITS : MS_BOTTOM_BITS;
    }
    int32_t skipped = 0;
    for (int32_t k = last + 1; last != NO_NOTE && k < here; k++) {
        skipped += !v->used[k];
        if ((float)skipped >= MS_SKIPPED_MAX / MS_SKIPPED_BITS) return MS_SKIPPED_MAX;
    }
    return MS_SKIPPED_BITS * (float)skipped;
}

static best_run best_of_query(const verifying *v, float *scores) {
    best_run r = {0};
    int32_t last = NO_NOTE;
    for (size_t i = v->first; i < v->last; i++) {
        const int32_t here = v->partner[i];
        scores[i] = note_score(v, i);
        if (here != NO_NOTE) scores[i] -= skipped_cost(v, here, last);
        if (here > last) last = here;
        run_add(&r, i, scores[i]);
    }
    return r;
}

/* The same over the target's notes: it finds a full texture of which the tune alone is there. The
 * score of a target note is its partner's. */
static best_run best_of_target(const verifying *v, const float *scores, float *by_target,
                               size_t low, size_t high) {
    best_run r = {0};
    for (size_t i = low; i <= high; i++) by_target[i - low] = -MS_UNMATCHED_BITS;
    for (size_t i = v->first; i < v->last; i++)
        if (v->partner[i] != NO_NOTE) by_target[(size_t)v->partner[i] - low] = scores[i];
    for (size_t i = low; i <= high; i++) run_add(&r, i, by_target[i - low]);
    return r;
}

/* Keep the pairs of the stretch, and say where it lies on both sides. */
static void take_pairs(const verifying *v, const best_run *r, bool is_target, ms_verified *out) {
    out->n_pairs = 0;
    for (size_t i = v->first; i < v->last; i++) {
        const int32_t t = v->partner[i];
        if (t == NO_NOTE) continue;
        const size_t place = is_target ? (size_t)t : i;
        if (place < r->first || place > r->last) continue;
        out->pairs[out->n_pairs++] = (ms_pair){(uint32_t)i, (uint32_t)t};
    }
    if (out->n_pairs == 0) return;
    out->query_first = out->pairs[0].query;
    out->query_last = out->pairs[out->n_pairs - 1].query;
    out->first = out->last = out->pairs[0].target;
    for (size_t i = 1; i < out->n_pairs; i++) {
        if (out->pairs[i].target < out->first) out->first = out->pairs[i].target;
        if (out->pairs[i].target > out->last) out->last = out->pairs[i].target;
    }
}

/* Least squares of target onsets in query onsets. */
static void fit_line(const verifying *v, ms_verified *out) {
    double n = (double)out->n_pairs, mx = 0, my = 0, xx = 0, xy = 0, yy = 0;
    out->slope = 1;
    out->residual_ms = 0;
    if (out->n_pairs < 2) return;
    for (size_t i = 0; i < out->n_pairs; i++) {
        mx += v->query->canon.time[out->pairs[i].query] / n;
        my += v->target->time[out->pairs[i].target] / n;
    }
    for (size_t i = 0; i < out->n_pairs; i++) {
        const double x = v->query->canon.time[out->pairs[i].query] - mx,
                     y = v->target->time[out->pairs[i].target] - my;
        xx += x * x;
        xy += x * y;
        yy += y * y;
    }
    if (xx <= 0) return;
    out->slope = xy / xx;
    const double left = yy - out->slope * xy;
    out->residual_ms = left > 0 ? sqrt(left / n) : 0;
}

/* Onsets far from one even tempo cost a little: of short passages that agree in pitch alone, chance
 * gives many. A long one has a tempo that changes, and pays no more than a few notes. The residual
 * is that of both sides: a faster target has a smaller one. Other tempos and keys cost too. */
static float doubt(const ms_verified *out) {
    const double notes = out->n_pairs < MS_UNEVEN_NOTES ? (double)out->n_pairs : MS_UNEVEN_NOTES;
    const double slope = out->slope > 1.0 / 64 ? out->slope : 1.0 / 64;
    const double share = fmin(out->residual_ms / sqrt(slope) / MS_UNEVEN_MS, 1);
    const double octaves = fmin(fabs(log2(slope)), MS_TEMPO_OCTAVES);
    const int semitones = abs(out->transpose);
    double bits = MS_UNEVEN_BITS * notes * share + MS_TEMPO_BITS * octaves;
    if (semitones > 0) bits += MS_MOVED_BITS + MS_SEMITONE_BITS * fmin(semitones, MS_SEMITONES);
    return (float)bits;
}

static int score(verifying *v, ms_arena *arena, ms_verified *out, msim_error *err) {
    size_t low = SIZE_MAX, high = 0, n_pairs = 0;
    for (size_t i = v->first; i < v->last; i++) {
        if (v->partner[i] == NO_NOTE) continue;
        n_pairs++;
        if ((size_t)v->partner[i] < low) low = (size_t)v->partner[i];
        if ((size_t)v->partner[i] > high) high = (size_t)v->partner[i];
    }
    out->pairs = ms_arena_get(arena, n_pairs, sizeof *out->pairs, "a match", err);
    float *scores =
        out->pairs ? ms_arena_get(arena, v->query->canon.n, sizeof *scores, "a match", err) : NULL;
    float *by_target = scores ? ms_arena_get(arena, n_pairs ? high - low + 1 : 1, sizeof *by_target,
                                             "a match", err)
                              : NULL;
    if (!by_target) return -MSIM_E_MEMORY;
    if (n_pairs == 0) return MSIM_OK;
    const best_run q = best_of_query(v, scores);
    const best_run t = best_of_target(v, scores, by_target, low, high);
    const bool is_target = t.best > q.best;
    out->score = is_target ? t.best : q.best;
    take_pairs(v, is_target ? &t : &q, is_target, out);
    fit_line(v, out);
    out->score -= doubt(out);
    return MSIM_OK;
}

int ms_verify_chain(const ms_chain *chain, const ms_probe *query, const ms_target *target,
                    ms_verify_memory *memory, ms_arena *arena, ms_verified *out, msim_error *err) {
    verifying v = {.chain = chain, .query = query, .target = target};
    *out = (ms_verified){.piece = chain->piece, .transpose = chain->transpose, .slope = 1};
    if (target->n > memory->used_cap) {
        ms_free(memory->used);
        memory->used_cap = 0;
        memory->used = ms_alloc(target->n, 1, "notes", err);
        if (!memory->used) return -MSIM_E_MEMORY;
        memory->used_cap = target->n;
    }
    v.used = memory->used;
    v.points = ms_arena_get(arena, chain->n + 1, sizeof *v.points, "a match", err);
    v.partner = v.points ? ms_arena_get(arena, query->canon.n, sizeof *v.partner, "a match", err)
                         : NULL;
    if (!v.partner) return -MSIM_E_MEMORY;
    make_map(&v);
    v.window = chain->anchors[0].target;
    const float sum = pair_inside(&v);
    pair_outside(&v, true, sum);
    pair_outside(&v, false, sum);
    int rc = v.is_stopped ? ms_fail(err, MSIM_E_STOPPED, "matches: stopped by the caller")
                          : score(&v, arena, out, err);
    for (size_t i = v.first; i < v.last; i++)
        if (v.partner[i] != NO_NOTE) v.used[v.partner[i]] = 0;
    return rc;
}
