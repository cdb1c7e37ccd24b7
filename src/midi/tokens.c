/* Notes to token ids: see tokens.h. It allocates nothing. docs/TOKENS.md, stages 16 and 17.
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

static int clamp_pitch(int pitch) { return pitch < 1 ? 1 : pitch > 127 ? 127 : pitch; }

void ms_tokens_write(const ms_token_note *notes, size_t n_notes, int semitones, int64_t length,
                     int32_t *ids) {
    int32_t pitch_id[128];
    /* Past an octave of octaves every pitch is at the end of its range. */
    int by = semitones < -128 ? -128 : semitones > 128 ? 128 : semitones;
    for (int p = 0; p < 128; p++) pitch_id[p] = PITCH_0 + clamp_pitch(p + by);
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

const ms_token_writer ms_tokens_midisim = {.steps = ms_tokens_steps, .write = ms_tokens_write};
