/* Where query and match agree: the places that a finder gave, or that the aligner finds, each with
 * the notes that agree and a map of time. */
#include "report/pitches.h"
#include <math.h>

enum {
    MOST_PLACES = 12,
    MOST_POINTS = 64, /* of a map of time */
    NEAR_MS = 150,    /* a note agrees when it is this near to where the map puts it */
    CHORD_MS = 50,    /* notes of one pitch this near are one note in several voices */
    FARTHEST = 36     /* semitones, for a place whose transposition is not told */
};

/* Without a finder's word, a place counts from here on: some 17 notes. */
#define LEAST_BITS 50.0

typedef struct {
    const ms_report_piece *query, *piece;
    ms_pitches query_notes, notes; /* owned: of both */
    msim_note_pair *pairs;         /* owned: [query->n_tuned], of a straight map */
    const msim_passage *passages;
    int64_t n_passages, n_places;
    ms_json_text *text;
} agreeing;

/* ---- Notes that are lit ---- */

static int put_lit(ms_json_text *text, const ms_pitches *notes, msim_error *err) {
    const size_t n = notes->piece->n_notes;
    unsigned char *lit = ms_alloc(n, 1, "notes", err);
    unsigned char *bits = lit ? ms_alloc(n / 8 + 1, 1, "notes", err) : NULL;
    if (bits) {
        ms_pitches_lit(notes, lit);
        for (size_t i = 0; i < n; i++) bits[i / 8] |= (unsigned char)(lit[i] << i % 8);
        ms_report_put_base64(text, bits, (n + 7) / 8);
    }
    ms_free(lit);
    ms_free(bits);
    return bits ? MSIM_OK : -MSIM_E_MEMORY;
}

/* ---- One place ---- */

static uint32_t query_ms(const agreeing *a, msim_note_pair p) {
    return a->query->tuned[p.query].start_ms;
}
static uint32_t piece_ms(const agreeing *a, msim_note_pair p) {
    return a->piece->tuned[p.piece].start_ms;
}

static void put_point(const agreeing *a, int64_t x, int64_t y, int64_t *last_x, int64_t *last_y) {
    if (*last_x >= 0) ms_report_put(a->text, ",");
    ms_json_put_int(a->text, *last_x >= 0 ? x - *last_x : x);
    ms_report_put(a->text, ",");
    ms_json_put_int(a->text, *last_x >= 0 ? y - *last_y : y);
    *last_x = x;
    *last_y = y;
}

/* Points of the map from the query's time to the match's, both rising: the pairs, thinned out. */
static void put_map(const agreeing *a, const msim_place *place, const msim_note_pair *pairs,
                    int64_t n) {
    int64_t last_x = -1, last_y = -1;
    const int64_t step = n / MOST_POINTS + 1;
    ms_report_put_key(a->text, "map");
    ms_report_put(a->text, "[");
    for (int64_t i = 0; i < n; i++) {
        const int64_t x = query_ms(a, pairs[i]), y = piece_ms(a, pairs[i]);
        if (i % step && i != n - 1) continue;
        if (last_x < 0 || (x > last_x && y > last_y)) put_point(a, x, y, &last_x, &last_y);
    }
    if (n == 0) {
        put_point(a, llround(place->query_from * 1000), llround(place->from * 1000), &last_x,
                  &last_y);
        put_point(a, llround(place->query_to * 1000), llround(place->to * 1000), &last_x, &last_y);
    }
    ms_report_put(a->text, "]");
}

static void put_range(const agreeing *a, const char *key, double from, double to) {
    ms_report_put(a->text, key);
    ms_json_put_int(a->text, llround(from * 1000));
    ms_report_put(a->text, ",");
    ms_json_put_int(a->text, llround(to * 1000));
    ms_report_put(a->text, "]");
}

static void put_place(agreeing *a, const msim_place *place, int transpose, double tempo,
                      const msim_note_pair *pairs, int64_t n) {
    if (a->n_places++) ms_report_put(a->text, ",");
    put_range(a, "{\"q\":[", place->query_from, place->query_to);
    put_range(a, ",\"m\":[", place->from, place->to);
    ms_report_put_key(a->text, "n");
    ms_json_put_int(a->text, place->n_matched);
    ms_report_put_key(a->text, "by");
    ms_json_put_int(a->text, transpose);
    ms_report_put_key(a->text, "tempo");
    ms_report_put_real(a->text, tempo);
    put_map(a, place, pairs, n);
    ms_report_put(a->text, "}");
    for (int64_t i = 0; i < n; i++) {
        ms_pitches_light(&a->query_notes, pairs[i].query, CHORD_MS);
        ms_pitches_light(&a->notes, pairs[i].piece, CHORD_MS);
    }
}

/* ---- Places of a finder ---- */

static double shared(double from, double to, double other_from, double other_to) {
    return fmin(to, other_to) - fmax(from, other_from);
}

/* The passage that lies where the place does, or NULL. */
static const msim_passage *passage_at(const agreeing *a, const msim_place *place) {
    for (int64_t i = 0; i < a->n_passages; i++) {
        const msim_place *p = &a->passages[i].place;
        const double query = shared(place->query_from, place->query_to, p->query_from, p->query_to);
        const double piece = shared(place->from, place->to, p->from, p->to);
        if (query >= 0.5 * (place->query_to - place->query_from) &&
            piece >= 0.5 * (place->to - place->from))
            return &a->passages[i];
    }
    return NULL;
}

static size_t first_from(const ms_report_piece *p, double ms) {
    size_t low = 0, high = p->n_tuned;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (p->tuned[middle].start_ms < ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Pairs under a straight map of the place; returns their number. */
static int64_t pair_straight(agreeing *a, const msim_place *place, int transpose) {
    const double length = place->query_to - place->query_from;
    const double slope = length > 0 ? (place->to - place->from) / length : 1;
    int64_t n = 0;
    ms_pitches_release(&a->notes);
    for (size_t i = first_from(a->query, place->query_from * 1000 - 1);
         i < a->query->n_tuned && a->query->tuned[i].start_ms <= place->query_to * 1000 + 1; i++) {
        const msim_note *note = &a->query->tuned[i];
        const double at = place->from * 1000 + (note->start_ms - place->query_from * 1000) * slope;
        const int64_t other = ms_pitches_take(&a->notes, note->pitch + transpose, at, NEAR_MS);
        if (other >= 0) a->pairs[n++] = (msim_note_pair){(int64_t)i, other};
    }
    return n;
}

/* Other places may be in other keys than the best one. */
static int find_key(agreeing *a, const msim_place *place, int transpose) {
    int64_t most = pair_straight(a, place, transpose);
    int best = transpose;
    if (2 * most >= place->n_matched) return best;
    for (int t = -FARTHEST; t <= FARTHEST; t++) {
        const int64_t n = pair_straight(a, place, t);
        if (n <= most) continue;
        most = n;
        best = t;
    }
    return best;
}

static void put_found(agreeing *a, const msim_note_match *match, const msim_place *place) {
    const msim_passage *passage = passage_at(a, place);
    const double length = place->query_to - place->query_from;
    if (passage) {
        put_place(a, place, passage->transpose, passage->tempo, passage->pairs,
                  passage->place.n_matched);
        return;
    }
    const int transpose = find_key(a, place, match->transpose);
    const double tempo = length > 0 ? (place->to - place->from) / length : match->tempo;
    put_place(a, place, transpose, tempo, a->pairs, pair_straight(a, place, transpose));
}

/* ---- All of them ---- */

static void put_places(agreeing *a, const msim_note_match *match) {
    if (match) put_found(a, match, &match->place);
    for (int64_t i = 0; match && match->others && i < match->n_others && a->n_places < MOST_PLACES;
         i++)
        put_found(a, match, &match->others[i]);
    for (int64_t i = 0; !match && i < a->n_passages && a->n_places < MOST_PLACES; i++) {
        const msim_passage *p = &a->passages[i];
        const double least = i == 0 ? LEAST_BITS : LEAST_BITS / 2;
        if (p->place.score >= least)
            put_place(a, &p->place, p->transpose, p->tempo, p->pairs, p->place.n_matched);
        else if (i == 0)
            return;
    }
}

static int reserve(agreeing *a, msim_error *err) {
    int rc = ms_pitches_make(a->query, &a->query_notes, err);
    if (rc >= 0) rc = ms_pitches_make(a->piece, &a->notes, err);
    if (rc < 0) return rc;
    a->pairs = ms_alloc(a->query->n_tuned, sizeof *a->pairs, "notes", err);
    return a->pairs ? MSIM_OK : -MSIM_E_MEMORY;
}

int ms_report_put_places(msim_report *r, const ms_report_piece *query, const ms_report_piece *piece,
                         const msim_note_match *match, ms_json_text *text, msim_error *err) {
    agreeing a = {.query = query, .piece = piece, .text = text};
    int rc = reserve(&a, err);
    if (rc >= 0) {
        a.n_passages = msim_aligner_align(r->aligner, query->tuned, query->n_tuned, piece->tuned,
                                          piece->n_tuned, &a.passages, err);
        rc = a.n_passages < 0 ? (int)a.n_passages : MSIM_OK;
    }
    if (rc >= 0) {
        ms_report_put_key(text, "places");
        ms_report_put(text, "[");
        put_places(&a, match);
        ms_report_put(text, "]");
        ms_report_put_key(text, "lit");
        ms_report_put(text, "[");
        rc = put_lit(text, &a.query_notes, err);
        ms_report_put(text, ",");
    }
    if (rc >= 0) rc = put_lit(text, &a.notes, err);
    ms_report_put(text, "]");
    ms_pitches_free(&a.query_notes);
    ms_pitches_free(&a.notes);
    ms_free(a.pairs);
    return rc < 0 ? rc : ms_json_text_failed(text, err);
}
