/* The tokeniser handle: runs the 17 stages of docs/TOKENS.md over one file. It owns the note queues
 * and two arenas, which are emptied for each file and kept between files; no event and no note is
 * allocated alone. One thread at a time. Every failure comes before the first id is written. */
#include "midi/meter/bars.h"
#include "midi/canonical.h"
#include "midi/meter/places.h"
#include "midi/tokens.h"
#include "midi/windows.h"
#include <string.h>

/* What an arena keeps between files, and between stages of a file: more than all but the largest
 * files need, so that most files ask the system for nothing. */
#define KEEP_BYTES ((size_t)2 << 20)
#define MOST_TRANSPOSE 6

struct msim_tokenizer {
    const ms_token_writer *writer; /* static */
    ms_token_settings settings;
    ms_arena arenas[2];  /* owned: stages take turns, see read_score */
    ms_arena wide;       /* owned: the tables of a file with long delta times */
    int64_t full_length; /* ids of the last file, uncut; of its variants, the piece as it
                                    * is */
    int outcome;         /* msim_outcome of the last file */
    bool force_wide;
    bool keeps_bars;          /* places are noted */
    ms_arena kept;            /* owned: theirs */
    ms_places places;         /* of the piece */
    msim_note_reader *sharer; /* borrowed: who gets the events too; or NULL */
    ms_token_piece piece;     /* that was read last */
    ms_queues queues;
};

int ms_tokenizer_open(const ms_token_writer *writer, const ms_token_settings *settings,
                      msim_tokenizer **out, msim_error *err) {
    *out = NULL;
    msim_tokenizer *tok = ms_alloc(1, sizeof *tok, "tokenizer", err);
    if (!tok) return -MSIM_E_MEMORY;
    tok->writer = writer;
    tok->settings = *settings;
    for (int i = 0; i < 2; i++) ms_arena_init(&tok->arenas[i], KEEP_BYTES);
    ms_arena_init(&tok->wide, KEEP_BYTES);
    ms_arena_init(&tok->kept, KEEP_BYTES);
    ms_queues_init(&tok->queues);
    *out = tok;
    return MSIM_OK;
}

void msim_tokenizer_close(msim_tokenizer *tok) {
    if (!tok) return;
    for (int i = 0; i < 2; i++) ms_arena_free(&tok->arenas[i]);
    ms_arena_free(&tok->wide);
    ms_arena_free(&tok->kept);
    ms_free(tok);
}

int msim_tokenizer_outcome(const msim_tokenizer *tok) { return tok->outcome; }
int64_t msim_tokenizer_full_length(const msim_tokenizer *tok) { return tok->full_length; }
void ms_tokenizer_force_wide(msim_tokenizer *tok, bool on) { tok->force_wide = on; }
void msim_tokenizer_share(msim_tokenizer *tok, msim_note_reader *reader) { tok->sharer = reader; }

int msim_tokenizer_variants(int transpose_factor) {
    if (transpose_factor <= 0) return 1;
    return 2 * (transpose_factor < MOST_TRANSPOSE ? transpose_factor : MOST_TRANSPOSE);
}

size_t msim_tokenizer_bound(size_t n_bytes, int transpose_factor, int64_t max_seq_len) {
    /* Header and chunk header take 22 bytes, a note-on at least 3, and a note gives at most 3 ids
     * in midisim, 4 in midisimx. */
    size_t length = n_bytes > 22 ? n_bytes - 21 : 1, total;
    if (!ms_add_size(length, length / 3 + 1, &length)) length = SIZE_MAX;
    if (max_seq_len >= 0 && (uint64_t)max_seq_len < length) length = (size_t)max_seq_len;
    return ms_mul_size(length, (size_t)msim_tokenizer_variants(transpose_factor), &total)
               ? total
               : SIZE_MAX;
}

/* Give back what the last file left. */
static void forget(msim_tokenizer *tok) {
    tok->piece = (ms_token_piece){0};
    for (int i = 0; i < 2; i++) ms_arena_reset(&tok->arenas[i]);
    ms_arena_reset(&tok->wide);
    ms_arena_reset(&tok->kept);
    tok->places = (ms_places){0};
}

/* Stages 1 to 8: what the file says. The arenas take turns: a stage reads from one and writes to
 * the other, and what it has read is given back. In the end the notes are in *notes, the other
 * events in *rest. */
static int read_score(msim_tokenizer *tok, const uint8_t *file, size_t n_bytes, ms_score *score,
                      ms_wide *ms, ms_arena **notes, ms_arena **rest, msim_error *err) {
    ms_smf smf;
    ms_wide ticks;
    ms_arena *from = &tok->arenas[0], *to = &tok->arenas[1];
    msim_error own;
    if (!err) err = &own;
    int rc = ms_smf_read(file, n_bytes, from, &smf, &tok->outcome, err);
    if (tok->sharer) {
        const int taken = ms_note_reader_take(tok->sharer, file, n_bytes, rc < 0 ? NULL : &smf,
                                              tok->outcome, err, err);
        if (rc >= 0) rc = taken;
    }
    if (rc < 0) return rc;
    const bool is_wide = tok->force_wide || smf.last_tick >= MS_SMF_NARROW_TICKS,
               notes_places = tok->keeps_bars && !is_wide;
    if (is_wide) rc = ms_wide_ticks(file, n_bytes, &smf, &tok->wide, &ticks, err);
    if (notes_places)
        rc = ms_meters_read(file, n_bytes, &smf, &tok->kept, &tok->places.meters, err);
    if (rc >= 0) rc = ms_score_pair_tracks(&smf, &tok->queues, to, score, err);
    if (rc < 0) return rc;
    ms_arena_reset(from);
    const ms_event *paired = score->events;
    rc = ms_score_merge(score, smf.last_tick, from, err);
    if (rc >= 0 && notes_places) rc = ms_places_note(score, &tok->kept, &tok->places, err);
    if (rc < 0) return rc;
    const bool is_moved = score->events != paired;
    *rest = is_moved ? from : to;
    *notes = is_moved ? to : from;
    ms_arena_reset(*notes);
    rc = ms_tempo_convert(score, smf.division, is_wide ? &ticks : NULL, ms, &tok->wide, err);
    if (rc >= 0 && notes_places) ms_places_time(score, &tok->places);
    if (rc >= 0) rc = ms_score_pair_stream(score, &tok->queues, *notes, err);
    if (rc < 0) return rc;
    ms_score_mask(score);
    return ms_score_sustain(score, *notes, err);
}

/* The MIDI file itself, without what RMID puts around it. One that is empty or too large is left
 * for its reader to refuse, unread. */
static const uint8_t *unwrap(const void *midi, size_t *n_bytes) {
    if (*n_bytes == 0 || *n_bytes > MS_SMF_MAX_BYTES) return midi;
    size_t at = msim_midi_find(midi, *n_bytes, n_bytes);
    return (const uint8_t *)midi + at;
}

/* Stages 1 to 16. */
static int read_piece(msim_tokenizer *tok, const void *midi, size_t n_bytes, msim_error *err) {
    ms_score score;
    ms_wide ms;
    ms_arena *notes, *rest;
    ms_token_piece piece;
    const uint8_t *file = unwrap(midi, &n_bytes);
    forget(tok);
    int rc = read_score(tok, file, n_bytes, &score, &ms, &notes, &rest, err);
    if (rc < 0) return rc;
    ms_clean_drop(&score);
    score.events = NULL; /* no later stage looks at them */
    score.n_events = 0;
    ms_arena_reset(rest);
    ms_clean_order(&score);
    if (score.n_notes == 0) {
        tok->outcome = MSIM_OUTCOME_NO_NOTES;
        return ms_fail(err, MSIM_E_EMPTY, "no notes in the file");
    }
    rc = tok->writer->make(&score, &tok->settings, notes, rest, &piece, &tok->outcome, err);
    if (rc < 0) return rc;
    tok->outcome = MSIM_OUTCOME_TOKENS;
    piece.knows_bars = tok->keeps_bars;
    tok->piece = piece;
    return MSIM_OK;
}

static int check_room(int64_t need, size_t ids_cap, msim_error *err) {
    if ((uint64_t)need > ids_cap)
        return ms_fail(err, MSIM_E_LIMIT, "token ids: expected room for %lld, got %zu",
                       (long long)need, ids_cap);
    return MSIM_OK;
}

/* Say how long the piece is, moved by `semitones`; it is then known so. */
static int64_t count_ids(msim_tokenizer *tok, int semitones) {
    return tok->full_length = tok->writer->count(&tok->piece, semitones);
}

int64_t msim_tokenizer_encode(msim_tokenizer *tok, const void *midi, size_t n_bytes,
                              int transpose_factor, int64_t max_seq_len, int32_t *ids,
                              size_t ids_cap, int64_t *starts, msim_error *err) {
    int64_t at[2 * MOST_TRANSPOSE + 1] = {0};
    int rc = read_piece(tok, midi, n_bytes, err);
    if (rc < 0) return rc;
    const int variants = msim_tokenizer_variants(transpose_factor);
    for (int v = 0; v < variants; v++)
        at[v + 1] = at[v] + ms_tokens_cut(count_ids(tok, v - variants / 2), max_seq_len);
    count_ids(tok, 0);
    rc = check_room(at[variants], ids_cap, err);
    if (rc < 0) return rc;
    for (int v = 0; v < variants; v++)
        if (at[v + 1] > at[v])
            tok->writer->write(&tok->piece, v - variants / 2, at[v + 1] - at[v], ids + at[v]);
    memcpy(starts, at, ((size_t)variants + 1) * sizeof *starts);
    return variants;
}

int64_t msim_tokenizer_encode_at(msim_tokenizer *tok, const void *midi, size_t n_bytes,
                                 int semitones, int64_t max_seq_len, int32_t *ids, size_t ids_cap,
                                 msim_error *err) {
    int rc = read_piece(tok, midi, n_bytes, err);
    if (rc < 0) return rc;
    const int64_t length = ms_tokens_cut(count_ids(tok, semitones), max_seq_len);
    rc = check_room(length, ids_cap, err);
    if (rc < 0) return rc;
    tok->writer->write(&tok->piece, semitones, length, ids);
    return length;
}

int64_t msim_tokenizer_windows(const msim_tokenizer *tok, int64_t window_tokens,
                               int64_t window_step, int64_t max_seq_len, msim_span *spans,
                               size_t cap, msim_error *err) {
    const ms_token_piece *p = &tok->piece;
    if (!p->units) return ms_fail(err, MSIM_E_ARG, "windows: no piece was encoded before");
    if (p->is_chord_first)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "windows: a window begins with a start time, and these tokens are in the "
                       "order chord-first; use time-first");
    if (window_tokens < MS_WINDOWS_LEAST)
        return ms_fail(err, MSIM_E_ARG, "windows: expected at least %d tokens, got %lld",
                       MS_WINDOWS_LEAST, (long long)window_tokens);
    if (window_step < 1 || window_step > window_tokens)
        return ms_fail(err, MSIM_E_ARG, "windows: step: expected 1..%lld tokens, got %lld",
                       (long long)window_tokens, (long long)window_step);
    ms_windows w = {.piece = p,
                    .n_tokens = ms_tokens_cut(tok->full_length, max_seq_len),
                    .window_tokens = window_tokens,
                    .step = window_step};
    return ms_windows_cut(&w, spans, cap);
}

int msim_tokenizer_spans_at(const msim_tokenizer *tok, int semitones, int64_t max_seq_len,
                            const msim_span *spans, int64_t n, msim_span *out, msim_error *err) {
    if (!tok->piece.units) return ms_fail(err, MSIM_E_ARG, "spans: no piece was encoded before");
    ms_windows_move(&tok->piece, tok->writer, semitones, max_seq_len, spans, n, out);
    return MSIM_OK;
}

void msim_tokenizer_keep_bars(msim_tokenizer *tok, int is_kept) { tok->keeps_bars = is_kept != 0; }

int msim_tokenizer_bars(const msim_tokenizer *tok, const msim_span *span, msim_bar_span *out,
                        msim_error *err) {
    const double most = (double)UINT32_MAX / 1000, from = span->from_seconds, to = span->to_seconds;
    if (!tok->piece.units || !tok->piece.knows_bars)
        return ms_fail(err, MSIM_E_ARG, "bars: no piece was encoded before whose bars are kept");
    if (!(from >= 0 && from <= to && to <= most))
        return ms_fail(err, MSIM_E_ARG, "bars: expected seconds from 0 to %.3f, got %g to %g", most,
                       from, to);
    *out = ms_places_find(&tok->places, (uint64_t)(from * 1000.0 + 0.5),
                          (uint64_t)(to * 1000.0 + 0.5));
    return MSIM_OK;
}

int64_t msim_tokenizer_notes(const msim_tokenizer *tok, double *seconds) {
    const ms_token_piece *p = &tok->piece;
    msim_span all;
    ms_windows w = {
        .piece = p, .n_tokens = tok->full_length, .window_tokens = INT32_MAX, .step = INT32_MAX};
    int64_t n = p->chords ? 0 : (int64_t)p->n_notes;
    if (seconds) *seconds = 0;
    if (!p->units) return 0;
    if (seconds && ms_windows_cut(&w, &all, 1) > 0) *seconds = all.to_seconds;
    for (size_t i = 0; i < p->n_chords; i++) n += p->chords[i].n_kept;
    return n;
}

size_t msim_midi_canonical_bound(size_t n_bytes) { return ms_canonical_bound(n_bytes); }

int64_t msim_midi_canonical(msim_tokenizer *tok, const void *midi, size_t n_bytes,
                            unsigned char *out, size_t cap, msim_error *err) {
    const uint8_t *file = unwrap(midi, &n_bytes);
    forget(tok);
    return ms_canonical(file, n_bytes, &tok->arenas[0], out, cap, &tok->outcome, err);
}
