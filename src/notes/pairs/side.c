/* One side of a comparison: see side.h. */
#include "notes/pairs/side.h"
#include "notes/file/details.h"
#include <string.h>

static int make_table(ms_side *s, ms_arena *arena, msim_error *err) {
    size_t slots = 64;
    while (slots < 2 * s->n_words) slots *= 2;
    s->heads = ms_arena_get(arena, slots, sizeof *s->heads, "words", err);
    s->next = s->heads ? ms_arena_get(arena, s->n_words, sizeof *s->next, "words", err) : NULL;
    if (!s->next) return -MSIM_E_MEMORY;
    memset(s->heads, 0, slots * sizeof *s->heads);
    s->mask = slots - 1;
    for (size_t i = s->n_words; i-- > 0;) {
        uint32_t *head = &s->heads[ms_word_hash(ms_side_prefix(&s->words[i])) & s->mask];
        s->next[i] = *head;
        *head = (uint32_t)i + 1;
    }
    return MSIM_OK;
}

/* A long piece has more words than a chain needs. */
static unsigned sample_of(size_t n_notes) {
    unsigned sample = 1;
    while (sample < MS_PAIR_CHAIN_SAMPLE && n_notes > 2 * sample * MS_PAIR_CHAIN_NOTES) sample *= 2;
    return sample;
}

int ms_side_make(const msim_note *notes, size_t n, ms_arena *arena, ms_side *out, msim_error *err) {
    *out = (ms_side){0};
    out->sample = sample_of(n);
    int rc = ms_probe_make_alone(notes, n, (int)out->sample, NULL, arena, &out->probe, err);
    if (rc < 0) return rc;
    const ms_canon *canon = &out->probe.canon;
    ms_word *words = ms_arena_get(arena, out->probe.n_words, sizeof *words, "words", err);
    if (!words) return -MSIM_E_MEMORY;
    memcpy(words, out->probe.words, out->probe.n_words * sizeof *words);
    const int64_t kept = ms_words_select(words, out->probe.n_words, canon->n, arena, err);
    if (kept < 0) return (int)kept;
    out->words = words;
    out->n_words = (size_t)kept;
    out->target = (ms_target){.time = canon->time, .pitch = canon->pitch, .n = canon->n};
    out->digest = ms_words_digest(canon);
    return make_table(out, arena, err);
}

int ms_side_load(const msim_notes *notes, int64_t piece, ms_arena *arena, ms_side *out,
                 msim_error *err) {
    ms_piece_view view;
    msim_piece_notes got = {.size = sizeof got};
    if (!ms_index_piece(notes, (uint64_t)piece, &view) || view.n_notes == 0)
        return ms_index_damaged(notes, "a piece", err);
    uint32_t *time = ms_arena_get(arena, view.n_notes, sizeof *time, "times", err);
    if (!time) return -MSIM_E_MEMORY;
    int rc = ms_details_get(view.details, view.details_bytes, view.pitches, view.n_notes, arena,
                            &got, err);
    if (rc >= 0) rc = ms_side_make(got.notes, got.n_notes, arena, out, err);
    if (rc < 0) return rc;
    const uint8_t *voices;
    if (out->target.n != view.n_notes ||
        !ms_details_times(view.details, view.details_bytes, view.n_notes, time, &voices))
        return ms_index_damaged(notes, "the notes of a piece", err);
    out->target.voices = voices;
    out->target.end = view.details + view.details_bytes;
    return MSIM_OK;
}
