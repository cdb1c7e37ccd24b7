/* Contract: tools/common/notes/asked.h. */
#include "common/notes/asked.h"
#include "base/mem.h"
#include <string.h>

static int copy_voices(const msim_piece_notes *p, ms_asked *q, msim_error *err) {
    q->voices = ms_alloc(p->n_voices, sizeof *q->voices, "voices", err);
    if (!q->voices) return -MSIM_E_MEMORY;
    for (size_t v = 0; v < p->n_voices; v++) {
        q->voices[v] = p->voices[v];
        q->voices[v].name_bytes = 0;
        char *name = ms_alloc(p->voices[v].name_bytes + 1, 1, "a name", err);
        q->voices[v].name = name;
        q->n_voices = v + 1;
        if (!name) return -MSIM_E_MEMORY;
        memcpy(name, p->voices[v].name, p->voices[v].name_bytes);
        q->voices[v].name_bytes = p->voices[v].name_bytes;
    }
    return 0;
}

int ms_asked_take(const char *label, size_t label_bytes, const msim_piece_notes *p, ms_asked *q,
                  msim_error *err) {
    *q = (ms_asked){.label = ms_alloc(label_bytes + 1, 1, "a name", err)};
    q->notes = q->label ? ms_alloc(p->n_notes, sizeof *q->notes, "notes", err) : NULL;
    q->bars = q->notes ? ms_alloc(p->n_bars, sizeof *q->bars, "bars", err) : NULL;
    if (!q->bars) return -MSIM_E_MEMORY;
    if (label_bytes) memcpy(q->label, label, label_bytes);
    if (p->n_notes) memcpy(q->notes, p->notes, p->n_notes * sizeof *q->notes);
    if (p->n_bars) memcpy(q->bars, p->bars, p->n_bars * sizeof *q->bars);
    q->n_notes = p->n_notes;
    q->n_bars = p->n_bars;
    return copy_voices(p, q, err);
}

static void forget_matches(ms_asked *q) {
    for (int64_t i = 0; i < q->n_matches; i++) ms_free((void *)q->matches[i].others);
    ms_free(q->matches);
    q->matches = NULL;
    q->n_matches = 0;
}

int ms_asked_keep(ms_asked *q, const msim_note_match *matches, int64_t n, msim_error *err) {
    forget_matches(q);
    q->matches = ms_alloc((size_t)n, sizeof *q->matches, "matches", err);
    if (!q->matches) return -MSIM_E_MEMORY;
    for (int64_t i = 0; i < n; i++) {
        const size_t n_others = (size_t)matches[i].n_others;
        msim_place *others = ms_alloc(n_others, sizeof *others, "places", err);
        if (!others) return -MSIM_E_MEMORY;
        if (n_others) memcpy(others, matches[i].others, n_others * sizeof *others);
        q->matches[i] = matches[i];
        q->matches[i].others = others;
        q->n_matches = i + 1;
    }
    return 0;
}

void ms_asked_answer(ms_asked *q, msim_finder *finder) {
    const msim_note_match *matches = NULL;
    const int64_t n = msim_finder_find(finder, q->notes, q->n_notes, &matches, &q->err);
    if (n >= 0 && ms_asked_keep(q, matches, n, &q->err) >= 0) q->err.code = 0;
}

void ms_asked_free(ms_asked *q) {
    forget_matches(q);
    for (size_t v = 0; v < q->n_voices; v++) ms_free((void *)q->voices[v].name);
    ms_free(q->voices);
    ms_free(q->bars);
    ms_free(q->notes);
    ms_free(q->label);
    ms_free(q->path);
    *q = (ms_asked){0};
}
