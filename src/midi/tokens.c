/* Notes to token ids of midisim: see tokens.h. docs/TOKENS.md, stages 11 to 17.
 *   0           begins every sequence
 *   1..127      units of 32 ms since the note before; left out within a chord
 *   128 + d     a duration of d units
 *   256 + p     pitch p */
#include "midi/tokens.h"

#define DURATION_0 128
#define PITCH_0 256

int64_t ms_tokens_steps(const ms_score *score, ms_token_note *out) {
    uint64_t before = score->n_notes ? score->units[0].start : 0;
    int64_t n_ids = 1;
    for (size_t i = 0; i < score->n_notes; i++) {
        const ms_unit_note *note = &score->units[i];
        uint64_t step = note->start - before;
        before = note->start;
        out[i] = (ms_token_note){.step = (uint8_t)(step < 127 ? step : 127),
                                 .duration = (uint8_t)(note->duration < 127 ? note->duration : 127),
                                 .pitch = note->pitch};
        n_ids += ms_token_note_ids(&out[i]);
    }
    return n_ids;
}

void ms_tokens_write(const ms_token_note *notes, size_t n_notes, int semitones, int64_t length,
                     int32_t *ids) {
    int32_t pitch_id[128];
    for (int p = 0; p < 128; p++) pitch_id[p] = PITCH_0 + ms_tokens_move(p, semitones);
    int64_t n = 0;
    size_t i = 0;
    if (length > 0) ids[n++] = 0;
    for (; i < n_notes && n + 3 <= length; i++) {
        ids[n] = notes[i].step;
        n += notes[i].step != 0;
        ids[n++] = DURATION_0 + notes[i].duration;
        ids[n++] = pitch_id[notes[i].pitch];
    }
    /* The cut may fall inside a note. */
    for (; i < n_notes && n < length; i++) {
        if (notes[i].step) ids[n++] = notes[i].step;
        if (n < length) ids[n++] = DURATION_0 + notes[i].duration;
        if (n < length) ids[n++] = pitch_id[notes[i].pitch];
    }
}

int64_t ms_tokens_cut(int64_t n, int64_t max_seq_len) {
    if (max_seq_len >= 0) return max_seq_len < n ? max_seq_len : n;
    return max_seq_len > -n ? n + max_seq_len : 0;
}

int ms_tokens_refuse_drums(size_t n_notes, int *outcome, msim_error *err) {
    *outcome = MSIM_OUTCOME_DRUMS_ONLY;
    return ms_fail(err, MSIM_E_EMPTY, "drums only: all %zu notes are on channel 10, the drums",
                   n_notes);
}

static int make(ms_score *score, const ms_token_settings *settings, ms_arena *notes, ms_arena *rest,
                ms_token_piece *out, int *outcome, msim_error *err) {
    const size_t n_with_drums = score->n_notes;
    (void)settings; /* this family has none */
    ms_clean_piano(score);
    if (score->n_notes == 0) return ms_tokens_refuse_drums(n_with_drums, outcome, err);
    const uint64_t origin = ms_clean_origin(score);
    int rc = ms_clean_quantise(score, origin, rest, err);
    if (rc < 0) return rc;
    ms_arena_reset(notes); /* from here on there are units */
    ms_clean_doubles(score);
    ms_clean_trim(score);
    ms_token_note *token_notes =
        ms_arena_get(rest, score->n_notes, sizeof *token_notes, "MIDI notes", err);
    if (!token_notes) return -MSIM_E_MEMORY;
    *out = (ms_token_piece){.units = score->units,
                            .n_notes = score->n_notes,
                            .origin_ms = score->ms ? ms_wide_ms(ms_wide_gap(score->ms, 0, origin))
                                                   : origin,
                            .n_ids = ms_tokens_steps(score, token_notes),
                            .notes = token_notes};
    return MSIM_OK;
}

static int64_t count(ms_token_piece *piece, int semitones) {
    (void)semitones; /* all variants have one length */
    return piece->n_ids;
}

static void write(const ms_token_piece *piece, int semitones, int64_t length, int32_t *ids) {
    ms_tokens_write(piece->notes, piece->n_notes, semitones, length, ids);
}

const ms_token_writer ms_tokens_midisim = {.make = make, .count = count, .write = write};
