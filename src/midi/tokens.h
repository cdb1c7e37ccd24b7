/* Notes to token ids: stages 11 to 17 of docs/TOKENS.md, which each family has its own way with. */
#ifndef MS_MIDI_TOKENS_H
#define MS_MIDI_TOKENS_H
#include "midi/score.h"

/* A note as the tokens of midisim describe it. */
typedef struct {
    uint8_t step;     /* 0..127 units since the note before */
    uint8_t duration; /* 1..127 units */
    uint8_t pitch;    /* 1..127 */
} ms_token_note;

/* Ids of a note behind another one; the first note of a sequence has no step. */
static inline int64_t ms_token_note_ids(const ms_token_note *note) { return 2 + (note->step != 0); }

/* A note as the tokens of midisimx describe it. */
typedef struct {
    uint8_t pitch;    /* 1..127, before it is transposed */
    uint8_t rank;     /* of its pitch, by where that first stood; orders notes that a clamped pitch
                       * makes equal */
    uint8_t duration; /* 1..127 units */
} ms_chord_note;

/* The notes of one unit of time. */
typedef struct {
    uint32_t first;  /* of its notes */
    uint8_t n_notes; /* 1..127 */
    uint8_t n_kept;  /* notes that thinning leaves, as the piece was last counted */
    uint8_t step;    /* 0..127 units since the chord before */
} ms_chord;

/* A piece that was read. Arrays are the tokeniser's arena's. */
typedef struct {
    const ms_unit_note *units; /* [n_notes]; NULL: there is no piece */
    size_t n_notes;
    uint64_t origin_ms;         /* of unit 0, from the beginning of the file */
    int64_t n_ids;              /* midisim: of a whole sequence */
    ms_token_note *notes;       /* midisim: [n_notes] */
    ms_chord_note *chord_notes; /* midisimx: [n_notes], by chord */
    ms_chord *chords;           /* midisimx: [n_chords]; NULL: the family has none */
    size_t n_chords;
    bool is_chord_first; /* midisimx: the chord's token stands before its start time */
    bool knows_bars;     /* the tokeniser has the places of this piece's bars */
} ms_token_piece;

typedef struct {
    int order;        /* msim_token_order */
    bool is_unclean;  /* all instruments but drums */
    int center_pitch; /* 1..127: every piece is moved to this mean pitch; 0: none is */
} ms_token_settings;

/* How a family turns notes into ids. */
typedef struct ms_token_writer {
    /* Stages 11 to 16, from the notes of stage 10, of which there is at least one. The arena
     * `notes` holds them and is given back; the piece lies in `rest`. *outcome is set to the
     * msim_outcome of a failure. */
    int (*make)(ms_score *score, const ms_token_settings *settings, ms_arena *notes, ms_arena *rest,
                ms_token_piece *out, int *outcome, msim_error *err);
    /* The number of ids of a whole sequence, every pitch moved by `semitones`; what the piece says
     * of its chords is then theirs. */
    int64_t (*count)(ms_token_piece *piece, int semitones);
    /* Ids of chord number `chord` in that variant; what the piece says of it stays. NULL: the
     * family has no chords, and all variants are alike. */
    int64_t (*chord_ids)(const ms_token_piece *piece, size_t chord, int semitones);
    /* Stage 17: the first `length` ids of it, of which there are at least so many. */
    void (*write)(const ms_token_piece *piece, int semitones, int64_t length, int32_t *ids);
} ms_token_writer;

/* The original's, and those of its successor (midi/chords). */
extern const ms_token_writer ms_tokens_midisim, ms_tokens_midisimx;

/* The tokeniser handle of a family: msim_tokenizer_open without a model. */
int ms_tokenizer_open(const ms_token_writer *writer, const ms_token_settings *settings,
                      msim_tokenizer **out, msim_error *err);

/* Stage 16 of midisim: steps and clipped durations, out [score->n_notes]. Returns the number of ids
 * of a whole sequence. */
int64_t ms_tokens_steps(const ms_score *score, ms_token_note *out);
/* Stage 17 of midisim: the first `length` ids of one sequence, every pitch moved by `semitones` and
 * kept in 1..127. */
void ms_tokens_write(const ms_token_note *notes, size_t n_notes, int semitones, int64_t length,
                     int32_t *ids);
/* Fail for a piece whose n_notes notes are all on the drum channel. */
int ms_tokens_refuse_drums(size_t n_notes, int *outcome, msim_error *err);
/* A pitch that was moved by `semitones`, kept in 1..127. */
static inline int ms_tokens_move(int pitch, int semitones) {
    /* Past an octave of octaves every pitch is at the end of its range. */
    const int by = semitones < -128 ? -128 : semitones > 128 ? 128 : semitones, moved = pitch + by;
    return moved < 1 ? 1 : moved > 127 ? 127 : moved;
}
/* How many of n ids max_seq_len keeps. */
int64_t ms_tokens_cut(int64_t n, int64_t max_seq_len);

/* For tests: treat every file as one whose times need wide integers. */
void ms_tokenizer_force_wide(msim_tokenizer *tok, bool on);

#endif
