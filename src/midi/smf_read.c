/* MIDI file bytes to events: see smf_read.h. Stage 1 finds the chunks; stage 2 decodes each of them
 * into one array. The caller's bytes are read in place. Two blocks come from the arena; their sizes
 * follow from chunk lengths that were checked against the bytes there are. One cursor moves forward
 * only, and every read ends at the end of its chunk. docs/TOKENS.md, stages 1 and 2. */
#include "midi/smf_read.h"
#include "midi/wide.h"
#include <midisim.h>
#include <stdbool.h>

typedef struct {
    const uint8_t *file;
    const uint8_t *p, *end; /* the cursor and the end of its chunk */
    ms_event *next;         /* where the next event goes */
    uint64_t time;          /* ticks since the chunk began */
    uint64_t delta;         /* of the event being read */
    uint32_t at;            /* where that event began */
    size_t n_notes;
} smf_reader;

static uint64_t read_long_number(smf_reader *r) { return ms_smf_number(&r->p, r->end); }

/* Most numbers have one byte or two. */
static inline uint64_t read_number(smf_reader *r) {
    const uint8_t *p = r->p;
    if (r->end - p >= 2 && p[0] < 0x80) {
        r->p = p + 1;
        return p[0];
    }
    return read_long_number(r);
}

/* What is rare is kept out of line, so that the loop of decode_chunk has the registers. */
#define RARE __attribute__((noinline))

static RARE int bad(const smf_reader *r, const char *expected, msim_error *err) {
    return ms_fail(err, MSIM_E_FORMAT, "bad MIDI: byte %td: the chunk ends where %s should stand",
                   r->p - r->file, expected);
}

static inline void emit(smf_reader *r, int kind, unsigned channel, unsigned x, unsigned y) {
    *r->next++ = (ms_event){.time = r->time,
                            .at = r->at,
                            .kind = (uint8_t)kind,
                            .channel = (uint8_t)channel,
                            .x = (uint8_t)x,
                            .y = (uint8_t)y};
}

/* Behind FF. Sets *stop at the end of track. parity: types with a fixed form are read at their
 * usual length, whatever length they declare; then the declared length is skipped
 * (test/unit/midi/test_tokenizer.c, as_the_original). */
static RARE int read_meta(smf_reader *r, bool *stop, msim_error *err) {
    if (r->p == r->end) return bad(r, "a meta type", err);
    unsigned type = *r->p++;
    const uint8_t *number = r->p;
    uint64_t length = read_number(r);
    const uint8_t *p = r->p;
    size_t left = (size_t)(r->end - p);
    /* parity: the original prints a wrong length of these types, and Python refuses to print 4,301
     * digits (test/unit/midi/test_tokenizer.c, lengths_beyond_print). */
    if (length != ms_smf_meta_bytes(type) && ms_smf_meta_bytes(type) &&
        ms_wide_number_unprintable(number, p))
        return ms_fail(err, MSIM_E_FORMAT, "bad MIDI: byte %td: a length has more than 4300 digits",
                       number - r->file);
    switch (type) {
    case 0x2f:
        *stop = true;
        if (r->delta) emit(r, MS_OTHER, 0, 0, 0);
        return MSIM_OK;
    case 0x51:
        if (left < 3) return bad(r, "3 bytes of tempo", err);
        emit(r, MS_TEMPO, p[0], p[1], p[2]);
        break;
    case 0x54:
        if (left < 5) return bad(r, "5 bytes of SMPTE offset", err);
        emit(r, MS_PAIR, 0, p[1], p[2]);
        break;
    case 0x58:
        if (left >= 3)
            emit(r, MS_PAIR, 0, p[1], p[2]);
        else
            emit(r, MS_OTHER, 0, 0, 0);
        break;
    case 0x59:
        if (left < 2) return bad(r, "2 bytes of key signature", err);
        emit(r, MS_OTHER, 0, 0, 0);
        break;
    case 0x00:
        if (length == 2 && left < 2) return bad(r, "2 bytes of sequence number", err);
        emit(r, MS_OTHER, 0, 0, 0);
        break;
    default: emit(r, MS_OTHER, 0, 0, 0);
    }
    r->p = length < left ? p + length : r->end;
    return MSIM_OK;
}

/* Behind a byte F0..FE. parity: only F0 and F7 have a length; most of the others take one data byte
 * of any value (test/unit/midi/test_tokenizer.c, as_the_original). */
static RARE int read_system(smf_reader *r, unsigned status, msim_error *err) {
    size_t left, need = status == 0xf6 ? 0 : status == 0xf2 ? 2 : 1;
    if (status == 0xf0 || status == 0xf7) {
        uint64_t length = read_number(r);
        left = (size_t)(r->end - r->p);
        need = length < left ? (size_t)length : left;
    } else {
        left = (size_t)(r->end - r->p);
        if (left < need) {
            r->p = r->end;
            return bad(r, "a data byte", err);
        }
    }
    r->p += need;
    emit(r, MS_OTHER, 0, 0, 0);
    return MSIM_OK;
}

/* Add a delta time of more than two bytes, or one at the end of the chunk. */
static RARE void read_long_delta(smf_reader *r) {
    r->delta = read_long_number(r);
    r->time += r->delta;
    /* Deltas below 2^32 cannot carry fewer than 2^31 events past 2^63. */
    if (r->delta >> 32 && r->time > (uint64_t)1 << 60) r->time = (uint64_t)1 << 60;
}

/* Stage 2: the bytes r->p .. r->end to events at r->next. At least two bytes make an event, so that
 * n bytes give at most n / 2. What changes with every event is kept out of *r as long as the events
 * are plain. parity: a data byte without a status empties the chunk, an event cut off fails the
 * file; running status survives everything; data bytes may have any value
 * (test/unit/midi/test_stages.c, stage_2_kinds) (test/unit/midi/test_tokenizer.c, outcomes). */
static RARE int decode_chunk(smf_reader *r, msim_error *err) {
    /* But for note-ons, which are MS_NOTE_OFF and one more when they have a velocity. */
    static const uint8_t kinds[8] = {MS_NOTE_OFF, MS_NOTE_OFF, MS_PAIR, MS_CONTROL,
                                     MS_PATCH,    MS_OTHER,    MS_OTHER};
    ms_event *const first = r->next, *next = first;
    const uint8_t *p = r->p, *const end = r->end, *const file = r->file;
    uint32_t status = 0;
    size_t need = 0; /* data bytes behind the status */
    uint64_t time = 0;
    size_t n_notes = 0;
    bool stop = false;
    while (p < end && !stop) {
        const uint32_t at = (uint32_t)(p - file);
        const unsigned byte = *p;
        uint64_t delta = byte;
        if (byte < 0x80) {
            p++;
            time += byte;
        } else if (end - p >= 2 && p[1] < 0x80) {
            delta = (byte & 0x7f) << 7 | p[1];
            p += 2;
            time += delta;
        } else {
            r->p = p;
            r->time = time;
            read_long_delta(r);
            p = r->p;
            time = r->time;
            delta = r->delta;
        }
        if (p == end) {
            r->p = p;
            return bad(r, "an event", err);
        }
        if (*p >= 0xf0) {
            *r = (smf_reader){.file = file,
                              .p = p + 1,
                              .end = end,
                              .next = next,
                              .time = time,
                              .delta = delta,
                              .at = at,
                              .n_notes = r->n_notes};
            int rc = *p == 0xff ? read_meta(r, &stop, err) : read_system(r, *p, err);
            if (rc < 0) return rc;
            p = r->p;
            next = r->next;
            continue;
        }
        if (*p >= 0x80) {
            status = *p++;
            need = (status & 0xe0) == 0xc0 ? 1 : 2;
        } else if (!status) {
            r->time = 0;
            r->next = first;
            return MSIM_OK;
        }
        if ((size_t)(end - p) < need) {
            r->p = end;
            return bad(r, "a data byte", err);
        }
        const uint32_t y = p[need - 1], is_on = (status >> 4 == 9) & (y != 0);
        next->time = time;
        next->at = at;
        /* Note-ons and note-offs alternate as the music has it: no branch could be foretold
         * here. */
        next->kind = (uint8_t)(kinds[status >> 4 & 7] + is_on);
        next->channel = status & 0xf;
        next->x = p[0];
        next++->y = (uint8_t)y;
        p += need;
        n_notes += is_on;
    }
    r->next = next;
    r->time = time;
    r->n_notes += n_notes;
    return MSIM_OK;
}

/* The chunk at offset `at`: true when its header and all of its bytes are there.
 * parity: types are not looked at, and a chunk that says more than there is ends the file
 * (test/unit/midi/test_tokenizer.c, as_the_original). */
static bool next_chunk(const uint8_t *file, size_t n_bytes, size_t at, size_t *length) {
    if (n_bytes - at < MS_SMF_CHUNK_HEADER_BYTES) return false;
    *length = ms_smf_be32(file + at + 4);
    return *length <= n_bytes - at - MS_SMF_CHUNK_HEADER_BYTES;
}

/* Stage 1, the header. parity: signature, format and track count are not looked at
 * (test/unit/midi/test_tokenizer.c, as_the_original). */
static int read_header(const uint8_t *file, size_t n_bytes, int *outcome, msim_error *err) {
    const int kind = msim_file_kind(file, n_bytes);
    *outcome = MSIM_OUTCOME_NOT_MIDI;
    const bool is_foreign = kind != MSIM_KIND_UNKNOWN && kind != MSIM_KIND_MIDI;
    if (is_foreign && (n_bytes < MS_SMF_HEADER_BYTES || ms_smf_be32(file + 4) != 6))
        return ms_fail(err, MSIM_E_FORMAT, "not MIDI: this is %s", msim_file_kind_name(kind));
    if (n_bytes < MS_SMF_HEADER_BYTES)
        return ms_fail(err, MSIM_E_FORMAT, "not MIDI: expected at least %d bytes, got %zu",
                       MS_SMF_HEADER_BYTES, n_bytes);
    if (n_bytes > MS_SMF_MAX_BYTES)
        return ms_fail(err, MSIM_E_LIMIT, "MIDI file: expected at most %zu bytes, got %zu",
                       MS_SMF_MAX_BYTES, n_bytes);
    if (ms_smf_be32(file + 4) != 6)
        return ms_fail(err, MSIM_E_FORMAT,
                       "not MIDI: byte 4: expected a header length of 6, got %u",
                       ms_smf_be32(file + 4));
    return MSIM_OK;
}

int ms_smf_read(const uint8_t *file, size_t n_bytes, ms_arena *arena, ms_smf *out, int *outcome,
                msim_error *err) {
    size_t length, at, n_tracks = 0, most = 0;
    int rc = read_header(file, n_bytes, outcome, err);
    if (rc < 0) return rc;
    for (at = MS_SMF_HEADER_BYTES; next_chunk(file, n_bytes, at, &length);
         at += MS_SMF_CHUNK_HEADER_BYTES + length) {
        n_tracks++;
        most += length / 2;
    }
    if (n_tracks == 0)
        return ms_fail(err, MSIM_E_FORMAT, "not MIDI: byte %zu: expected a track, got %s", at,
                       n_bytes - at < MS_SMF_CHUNK_HEADER_BYTES ? "the end of the file"
                                                                : "one longer than the file");
    *outcome = MSIM_OUTCOME_BAD_MIDI;
    *out = (ms_smf){.n_tracks = n_tracks, .division = (uint32_t)file[12] << 8 | file[13]};
    if (out->division == 0)
        return ms_fail(err, MSIM_E_FORMAT,
                       "bad MIDI: byte 12: expected 1..65535 ticks per quarter, got 0");
    out->track_ends = ms_arena_get(arena, n_tracks, sizeof *out->track_ends, "MIDI tracks", err);
    out->events =
        out->track_ends ? ms_arena_get(arena, most, sizeof *out->events, "MIDI events", err) : NULL;
    if (!out->events) return -MSIM_E_MEMORY;

    smf_reader r = {.file = file, .next = out->events};
    at = MS_SMF_HEADER_BYTES;
    for (size_t t = 0; t < n_tracks; t++) {
        next_chunk(file, n_bytes, at, &length);
        r.p = file + at + MS_SMF_CHUNK_HEADER_BYTES;
        r.end = r.p + length;
        r.time = 0;
        rc = decode_chunk(&r, err);
        if (rc < 0) return rc;
        out->track_ends[t] = (uint32_t)(r.next - out->events);
        if (r.time > out->last_tick) out->last_tick = r.time;
        at += MS_SMF_CHUNK_HEADER_BYTES + length;
    }
    out->n_events = (size_t)(r.next - out->events);
    out->n_notes = r.n_notes;
    return MSIM_OK;
}
