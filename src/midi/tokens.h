/* Notes to token ids: stages 16 and 17 of docs/TOKENS.md. */
#ifndef MS_MIDI_TOKENS_H
#define MS_MIDI_TOKENS_H
#include "midi/score.h"

/* A note as tokens describe it. */
typedef struct {
    uint8_t step;     /* 0..127 units since the note before */
    uint8_t duration; /* 1..127 units */
    uint8_t pitch;    /* 1..127 */
} ms_token_note;

/* Ids of a note behind another one; the first note of a sequence has no step. */
static inline int64_t ms_token_note_ids(const ms_token_note *note) { return 2 + (note->step != 0); }

/* How a family writes notes as ids. */
typedef struct ms_token_writer {
    /* Stage 16: out [score->n_notes]; the number of ids of a whole sequence. */
    int64_t (*steps)(const ms_score *score, ms_token_note *out);
    /* Stage 17: the first `length` ids, every pitch moved by `semitones`. */
    void (*write)(const ms_token_note *notes, size_t n_notes, int semitones, int64_t length,
                  int32_t *ids);
} ms_token_writer;

/* The original's. */
extern const ms_token_writer ms_tokens_midisim;

/* The tokeniser handle of a family: msim_tokenizer_open without a model. */
int ms_tokenizer_open(const ms_token_writer *writer, msim_tokenizer **out, msim_error *err);

/* Stage 16: steps and clipped durations, out [score->n_notes]. Returns the number of ids of a whole
 * sequence. */
int64_t ms_tokens_steps(const ms_score *score, ms_token_note *out);
/* Stage 17: the first `length` ids of one sequence, every pitch moved by `semitones` and kept in
 * 1..127. */
void ms_tokens_write(const ms_token_note *notes, size_t n_notes, int semitones, int64_t length,
                     int32_t *ids);
/* How many of n ids max_seq_len keeps. */
int64_t ms_tokens_cut(int64_t n, int64_t max_seq_len);

/* For tests: treat every file as one whose times need wide integers. */
void ms_tokenizer_force_wide(msim_tokenizer *tok, bool on);

#endif
