/* Notes by pitch: see report/pitches.h. Free notes are found by links that lead past those that are
 * taken and become shorter each time they are followed. */
#include "report/pitches.h"
#include <math.h>
#include <string.h>

int ms_pitches_make(const ms_report_piece *piece, ms_pitches *p, msim_error *err) {
    const size_t n = piece->n_tuned;
    *p = (ms_pitches){.piece = piece, .order = ms_alloc(n, sizeof *p->order, "notes", err)};
    if (p->order) p->place = ms_alloc(n, sizeof *p->place, "notes", err);
    if (p->place) p->next = ms_alloc(n + 1, sizeof *p->next, "notes", err);
    if (p->next) p->before = ms_alloc(n + 1, sizeof *p->before, "notes", err);
    if (p->before) p->edges = ms_alloc(n + 1, sizeof *p->edges, "notes", err);
    if (!p->edges) return -MSIM_E_MEMORY;
    size_t at[MS_REPORT_PITCHES];
    for (size_t i = 0; i < n; i++) p->first[(piece->tuned[i].pitch & 127) + 1]++;
    for (size_t k = 0; k < MS_REPORT_PITCHES; k++) p->first[k + 1] += p->first[k];
    memcpy(at, p->first, sizeof at);
    for (size_t i = 0; i < n; i++) {
        p->place[i] = (int32_t)at[piece->tuned[i].pitch & 127]++;
        p->order[p->place[i]] = (int32_t)i;
    }
    ms_pitches_release(p);
    return MSIM_OK;
}

void ms_pitches_free(ms_pitches *p) {
    ms_free(p->order);
    ms_free(p->place);
    ms_free(p->next);
    ms_free(p->before);
    ms_free(p->edges);
    *p = (ms_pitches){0};
}

void ms_pitches_release(ms_pitches *p) {
    for (size_t i = 0; i <= p->piece->n_tuned; i++) p->next[i] = p->before[i] = (int32_t)i;
}

static uint32_t start_of(const ms_pitches *p, size_t place) {
    return p->piece->tuned[p->order[place]].start_ms;
}

/* The first place of low .. high - 1, which are of one pitch, that begins at ms or later. */
static size_t first_from(const ms_pitches *p, size_t low, size_t high, double ms) {
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (start_of(p, middle) < ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static size_t follow(int32_t *links, size_t i) {
    while (links[i] != (int32_t)i) {
        links[i] = links[links[i]];
        i = (size_t)links[i];
    }
    return i;
}

int64_t ms_pitches_take(ms_pitches *p, int pitch, double ms, double near_ms) {
    if (pitch < 0 || pitch >= MS_REPORT_PITCHES) return -1;
    const size_t first = p->first[pitch], end = p->first[pitch + 1];
    const size_t middle = first_from(p, first, end, ms);
    const size_t low = first_from(p, first, middle, ms - near_ms);
    size_t best = follow(p->next, middle), other = follow(p->before, middle);
    const bool has_later = best < end && start_of(p, best) <= ms + near_ms;
    if (other > low) { /* the first of those that begin with it */
        other = follow(p->next, first_from(p, low, other - 1, start_of(p, other - 1)));
        if (!has_later || fabs(start_of(p, other) - ms) <= fabs(start_of(p, best) - ms))
            best = other;
    } else if (!has_later) {
        return -1;
    }
    p->next[best] = (int32_t)best + 1;
    p->before[best + 1] = (int32_t)best;
    return p->order[best];
}

void ms_pitches_light(ms_pitches *p, int64_t tuned, uint32_t chord_ms) {
    const msim_note *note = &p->piece->tuned[tuned];
    const size_t first = p->first[note->pitch & 127], end = p->first[(note->pitch & 127) + 1];
    const double ms = note->start_ms;
    p->edges[first_from(p, first, end, ms - chord_ms)]++;
    p->edges[first_from(p, first, end, ms + chord_ms + 1)]--;
}

void ms_pitches_lit(const ms_pitches *p, unsigned char *lit) {
    int32_t depth = 0;
    for (size_t i = 0; i < p->piece->n_tuned; i++) {
        depth += p->edges[i];
        lit[p->piece->numbers[p->order[i]]] = depth > 0;
    }
}
