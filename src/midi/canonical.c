/* The canonical form of a MIDI file: see canonical.h. docs/CANONICAL.md has the rules, which are
 * the original's.
 *
 * Each track goes from bytes to events; notes are paired in the order of their ends; events are
 * sorted into the moments of the track; and the result becomes bytes again. Moments are numbered
 * while reading: events come in order of time, so a delta above 0 begins the next moment, and
 * sorting means counting. No time is ever computed. The delta written between two events is the sum
 * of the deltas read between their moments, added in base 128 as the digits stand in the file,
 * however long they are. */
#include "midi/canonical.h"
#include "midi/smf_read.h"
#include "midi/wide.h"
#include <string.h>

#define MOST_TRACKS 65535
#define N_KEYS (15 * 128 + 256) /* pitch bytes reach 255, so that channels overlap */
#define NONE UINT32_MAX

enum { NOTE, CHANNEL, META, SYSEX, SYSTEM, DROPPED };

typedef struct {
    uint32_t moment;
    uint32_t at;     /* META, SYSEX: where its data stands in the file; NOTE: moment of its end */
    uint32_t length; /* META, SYSEX: of the data; NOTE: next note of its key that is open */
    uint8_t kind;
    uint8_t status; /* CHANNEL, NOTE, SYSEX, SYSTEM: first byte; META: type */
    uint8_t x, y;   /* data bytes as they are written (NOTE: pitch, velocity) */
} event;

/* Notes of one key that are open, oldest first. */
typedef struct {
    uint32_t first, last;
    bool is_known; /* opened in this track before */
} queue;

typedef struct {
    const uint8_t *file;
    const uint8_t *p, *end; /* the cursor and the end of its chunk */
    uint8_t *out, *out_end; /* where the next byte goes */
    bool is_full;           /* bytes were left out */
    /* parity: data of a time signature or SMPTE offset that the original reads, and only fails to
     * write, which it does not try in a track that comes out empty; or NULL
     * (test/unit/midi/test_canonical.c, as_the_original). */
    const uint8_t *unwritable;
    event *events;
    uint32_t *order;   /* events in the order of the score */
    uint32_t *placed;  /* 2 * event, and 1 for a note's end, in the order they are written */
    uint32_t *counts;  /* of each moment */
    uint32_t *moments; /* where in the file the delta stands that leads to it; moment 0 has
                               * none */
    uint8_t *sum;      /* digits of a delta in base 128, least first */
    queue *queues;     /* [N_KEYS] */
    uint16_t *opened;  /* keys in the order they were first opened */
    uint32_t n_events, n_order, n_placed, moment;
    size_t n_opened, n_sum;
} normalizer;

/* ---- Reading ---- */

static int bad(const normalizer *z, const uint8_t *at, const char *what, msim_error *err) {
    return ms_fail(err, MSIM_E_FORMAT, "bad MIDI: byte %td: %s", at - z->file, what);
}

static event *add_event(normalizer *z, int kind, unsigned status, unsigned x, unsigned y) {
    event *e = &z->events[z->n_events++];
    *e = (event){.moment = z->moment,
                 .kind = (uint8_t)kind,
                 .status = (uint8_t)status,
                 .x = (uint8_t)x,
                 .y = (uint8_t)y};
    return e;
}

static void add_data(normalizer *z, int kind, unsigned status, const uint8_t *data, size_t length) {
    event *e = add_event(z, kind, status, 0, 0);
    e->at = (uint32_t)(data - z->file);
    e->length = (uint32_t)length;
}

/* Behind FF; has_delta: time passed before it. Sets *stop at the end of track. */
static int read_meta(normalizer *z, bool has_delta, bool *stop, msim_error *err) {
    if (z->p == z->end) return bad(z, z->p, "the chunk ends where a meta type should be", err);
    const unsigned type = *z->p++, fixed = ms_smf_meta_bytes(type);
    const uint8_t *number = z->p;
    const uint64_t length = ms_smf_number(&z->p, z->end);
    const uint8_t *data = z->p;
    const size_t left = (size_t)(z->end - data);
    /* parity: the original prints a wrong length of these types, and Python refuses to print 4,301
     * digits (test/unit/midi/test_canonical.c, unprintable_length). */
    if (fixed && length != fixed && ms_wide_number_unprintable(number, data))
        return bad(z, number, "a length has more than 4300 digits", err);
    if (type == 0x2f) {
        /* parity: the end's delta lives on in an empty text
         * (test/unit/midi/test_canonical.c, as_the_original). */
        if (has_delta) add_data(z, META, 0x01, data, 0);
        *stop = true;
        return MSIM_OK;
    }
    /* parity: a sequence number of another length than 2 becomes number 0
     * (test/unit/midi/test_canonical.c, as_the_original). */
    if (type == 0x00 && length != 2)
        add_data(z, META, type, data, 0);
    else if (fixed && left < fixed && type != 0x58)
        return bad(z, data, "the chunk ends inside this meta event", err);
    else if (left < fixed || ((type == 0x54 || type == 0x58) && data[0] > 0x7f))
        z->unwritable = data;
    else
        add_data(z, META, type, data, fixed ? fixed : length < left ? (size_t)length : left);
    z->p += length < left ? (size_t)length : left;
    return MSIM_OK;
}

/* Behind a byte F0..FE. */
static int read_system(normalizer *z, unsigned status, msim_error *err) {
    const uint64_t length = status == 0xf0 || status == 0xf7 ? ms_smf_number(&z->p, z->end)
                            : status == 0xf2                 ? 2
                                                             : status != 0xf6;
    const uint8_t *data = z->p;
    const size_t left = (size_t)(z->end - data), n = length < left ? (size_t)length : left;
    z->p += n;
    if (status == 0xf0 || status == 0xf7) {
        add_data(z, SYSEX, status, data, n);
        return MSIM_OK;
    }
    if (n < length) return bad(z, z->p, "the chunk ends where a data byte should be", err);
    switch (status) {
    case 0xf2: add_event(z, SYSTEM, status, data[0] & 0x7f, (data[1] | data[0] >> 7) & 0x7f); break;
    case 0xf3: add_event(z, SYSTEM, status, data[0], 0); break;
    case 0xf6: add_event(z, SYSTEM, status, 0, 0); break;
    default: add_event(z, DROPPED, status, 0, 0);
    }
    return MSIM_OK;
}

static void open_note(normalizer *z, unsigned key, uint32_t note) {
    queue *q = &z->queues[key];
    z->events[note].length = NONE;
    if (!q->is_known) {
        q->is_known = true;
        q->first = NONE;
        z->opened[z->n_opened++] = (uint16_t)key;
    }
    if (q->first == NONE)
        q->first = note;
    else
        z->events[q->last].length = note;
    q->last = note;
}

/* The oldest open note of a key ends now. False when there is none. */
static bool close_note(normalizer *z, unsigned key) {
    queue *q = &z->queues[key];
    if (!q->is_known || q->first == NONE) return false;
    event *note = &z->events[q->first];
    z->order[z->n_order++] = q->first;
    q->first = note->length;
    note->at = z->moment;
    return true;
}

/* A channel event whose data bytes are there; they are kept as the original writes them. parity:
 * the data bytes of controllers, programs and channel pressure are not masked, and a velocity of 80
 * hexadecimal is not 0 (test/unit/midi/test_canonical.c, as_the_original). */
static void read_channel(normalizer *z, unsigned status, unsigned x, unsigned y) {
    const unsigned key = 128 * (status & 0xf) + x;
    switch (status >> 4) {
    case 0x8:
    case 0x9:
        if (status >> 4 == 0x8 || y == 0) {
            close_note(z, key);
            return;
        }
        add_event(z, NOTE, status, x & 0x7f, y & 0x7f);
        open_note(z, key, z->n_events - 1);
        return;
    case 0xa: add_event(z, CHANNEL, status, x & 0x7f, y & 0x7f); break;
    case 0xe: add_event(z, CHANNEL, status, x & 0x7f, (y | x >> 7) & 0x7f); break;
    default: add_event(z, CHANNEL, status, x, y);
    }
}

/* The bytes z->p .. z->end to events and their order. parity: a data byte without a status empties
 * the track (test/unit/midi/test_canonical.c, as_the_original). */
static int read_track(normalizer *z, msim_error *err) {
    unsigned status = 0;
    bool stop = false;
    while (z->p < z->end && !stop) {
        const uint8_t *delta = z->p;
        const bool has_delta = ms_smf_number(&z->p, z->end) > 0;
        if (has_delta) z->moments[++z->moment] = (uint32_t)(delta - z->file);
        if (z->p == z->end) return bad(z, z->p, "the chunk ends where an event should be", err);
        const uint32_t n_before = z->n_events;
        if (*z->p >= 0xf0) {
            const unsigned first = *z->p++;
            int rc = first == 0xff ? read_meta(z, has_delta, &stop, err)
                                   : read_system(z, first, err);
            if (rc < 0) return rc;
        } else {
            if (*z->p >= 0x80) status = *z->p++;
            if (!status) {
                z->n_events = z->n_order = 0;
                for (size_t i = 0; i < z->n_opened; i++) z->queues[z->opened[i]].is_known = false;
                z->n_opened = 0;
                z->unwritable = NULL;
                return MSIM_OK;
            }
            const size_t need = (status & 0xe0) == 0xc0 ? 1 : 2;
            if ((size_t)(z->end - z->p) < need)
                return bad(z, z->end, "the chunk ends where a data byte should be", err);
            read_channel(z, status, z->p[0], z->p[need - 1]);
            z->p += need;
        }
        if (z->n_events > n_before && z->events[n_before].kind != NOTE)
            z->order[z->n_order++] = n_before;
    }
    for (size_t i = 0; i < z->n_opened; i++) {
        while (close_note(z, z->opened[i])) {
        }
        z->queues[z->opened[i]].is_known = false;
    }
    z->n_opened = 0;
    if (z->unwritable)
        return bad(z, z->unwritable, "4 or 5 bytes of which the first is below 128", err);
    return MSIM_OK;
}

/* ---- Writing ---- */

/* Events by moment, within one in the order of the score, where a note stands for its start and
 * then its end. */
static void place_events(normalizer *z) {
    uint32_t at = 0;
    memset(z->counts, 0, ((size_t)z->moment + 1) * sizeof *z->counts);
    for (uint32_t i = 0; i < z->n_order; i++) {
        const event *e = &z->events[z->order[i]];
        z->counts[e->moment]++;
        if (e->kind == NOTE) z->counts[e->at]++;
    }
    for (uint32_t m = 0; m <= z->moment; m++) {
        const uint32_t n = z->counts[m];
        z->counts[m] = at;
        at += n;
    }
    for (uint32_t i = 0; i < z->n_order; i++) {
        const event *e = &z->events[z->order[i]];
        z->placed[z->counts[e->moment]++] = 2 * z->order[i];
        if (e->kind == NOTE) z->placed[z->counts[e->at]++] = 2 * z->order[i] + 1;
    }
    z->n_placed = at;
}

static void put(normalizer *z, const uint8_t *bytes, size_t n) {
    if (n == 0) return; /* `out` may be NULL */
    if ((size_t)(z->out_end - z->out) < n) {
        z->is_full = true;
        return;
    }
    memcpy(z->out, bytes, n);
    z->out += n;
}

static void put_byte(normalizer *z, unsigned byte) { put(z, &(uint8_t){(uint8_t)byte}, 1); }

static void put_length(normalizer *z, uint32_t n) {
    for (int shift = 28; shift > 0; shift -= 7)
        if (n >> shift) put_byte(z, 0x80 | (n >> shift & 0x7f));
    put_byte(z, n & 0x7f);
}

/* sum += the number that begins at p, which is whole. */
static void add_delta(normalizer *z, const uint8_t *p) {
    while (*p == 0x80) p++;
    const uint8_t *last = p;
    while (*last & 0x80) last++;
    const size_t n = (size_t)(last - p) + 1;
    unsigned carry = 0;
    for (size_t i = 0; i < n || carry; i++) {
        unsigned digit = carry + (i < n ? p[n - 1 - i] & 0x7fu : 0u) +
                         (i < z->n_sum ? z->sum[i] : 0u);
        carry = digit >> 7;
        if (i >= z->n_sum) z->n_sum = i + 1;
        z->sum[i] = digit & 0x7f;
    }
}

static void put_delta(normalizer *z) {
    if (z->n_sum == 0) put_byte(z, 0);
    for (size_t i = z->n_sum; i-- > 0;) put_byte(z, z->sum[i] | (i ? 0x80 : 0));
    z->n_sum = 0;
}

/* A note's end has status 8x, and the velocity of its start. */
static void put_channel(normalizer *z, const event *e, bool is_end, unsigned *running) {
    const unsigned status = is_end ? e->status - 0x10u : e->status;
    put_delta(z);
    if (status != *running) put_byte(z, status);
    put(z, (uint8_t[]){e->x, e->y}, (status & 0xe0) == 0xc0 ? 1 : 2);
    *running = status;
}

static void put_other(normalizer *z, const event *e, bool is_last) {
    put_delta(z);
    if (e->kind == SYSTEM) {
        put(z, (uint8_t[]){e->status, e->x, e->y},
            e->status == 0xf2   ? 3
            : e->status == 0xf3 ? 2
                                : 1);
    } else if (e->kind == META && is_last && e->status == 0x01 && e->length == 0) {
        put(z, (const uint8_t *)"\xff\x2f", 3); /* an empty text at the end becomes the end of
                                                 * track */
    } else if (e->kind == META && e->status == 0x00 && e->length == 0) {
        put(z, (const uint8_t *)"\xff\0\2\0", 5);
    } else {
        if (e->kind == META) put_byte(z, 0xff);
        put_byte(z, e->status);
        put_length(z, e->length);
        put(z, z->file + e->at, e->length);
    }
}

static void put_events(normalizer *z) {
    unsigned running = 0;
    uint32_t moment = 0;
    bool has_end = false;
    z->n_sum = 0;
    for (uint32_t i = 0; i < z->n_placed; i++) {
        const event *e = &z->events[z->placed[i] / 2];
        const bool is_end = z->placed[i] & 1, is_last = i + 1 == z->n_placed;
        const uint32_t to = is_end ? e->at : e->moment;
        while (moment < to) add_delta(z, z->file + z->moments[++moment]);
        if (e->kind == NOTE || e->kind == CHANNEL) {
            put_channel(z, e, is_end, &running);
            continue;
        }
        running = 0;
        /* parity: the delta of a dropped event goes with it, and all that follows comes earlier
         * (test/unit/midi/test_canonical.c, as_the_original). */
        if (e->kind == DROPPED) {
            z->n_sum = 0;
            continue;
        }
        put_other(z, e, is_last);
        has_end = is_last && e->kind == META && e->status == 0x01 && e->length == 0;
    }
    if (!has_end) put(z, (const uint8_t *)"\0\xff\x2f", 4);
}

static int put_track(normalizer *z, msim_error *err) {
    put(z, (const uint8_t *)"MTrk\0\0\0", 8);
    uint8_t *begin = z->out;
    place_events(z);
    put_events(z);
    const size_t n = (size_t)(z->out - begin);
    if (n > UINT32_MAX)
        return ms_fail(err, MSIM_E_LIMIT, "canonical MIDI: expected tracks below 4 GiB, got %zu",
                       n);
    if (z->is_full) return MSIM_OK; /* said in the end; begin may not have a header before it */
    for (int i = 0; i < 4; i++) begin[i - 4] = (uint8_t)(n >> (24 - 8 * i));
    return MSIM_OK;
}

/* ---- Files ---- */

size_t ms_canonical_bound(size_t n_bytes) {
    size_t n;
    return ms_mul_size(n_bytes, 3, &n) && ms_add_size(n, 26, &n) ? n : SIZE_MAX;
}

/* The chunk at offset `at`: true when its header and all of its bytes are there. */
static bool next_chunk(const uint8_t *file, size_t n_bytes, size_t at, size_t *length) {
    if (n_bytes - at < MS_SMF_CHUNK_HEADER_BYTES) return false;
    *length = ms_smf_be32(file + at + 4);
    return *length <= n_bytes - at - MS_SMF_CHUNK_HEADER_BYTES;
}

static int take_scratch(normalizer *z, size_t longest, ms_arena *arena, msim_error *err) {
    const size_t n = longest / 2 + 2; /* an event takes two bytes at least; so does a moment, but
                                       * for a last one */
    const char *what = "normalised MIDI";
    if (!(z->events = ms_arena_get(arena, n, sizeof *z->events, what, err)) ||
        !(z->order = ms_arena_get(arena, n, sizeof *z->order, what, err)) ||
        !(z->placed = ms_arena_get(arena, 2 * n, sizeof *z->placed, what, err)) ||
        !(z->counts = ms_arena_get(arena, n, sizeof *z->counts, what, err)) ||
        !(z->moments = ms_arena_get(arena, n, sizeof *z->moments, what, err)) ||
        !(z->sum = ms_arena_get(arena, longest + 1, 1, what, err)) ||
        !(z->queues = ms_arena_get(arena, N_KEYS, sizeof *z->queues, what, err)) ||
        !(z->opened = ms_arena_get(arena, N_KEYS, sizeof *z->opened, what, err)))
        return -MSIM_E_MEMORY;
    memset(z->queues, 0, N_KEYS * sizeof *z->queues);
    return MSIM_OK;
}

/* parity: what the original cannot read as a MIDI file comes out as one empty track
 * (test/unit/midi/test_canonical.c, as_the_original). */
static void put_empty_file(normalizer *z) {
    static const uint8_t empty[] = "MThd\0\0\0\6\0\0\0\1\3\xe8MTrk\0\0\0\4\0\xff\x2f";
    put(z, empty, sizeof empty);
}

static int put_file(normalizer *z, const uint8_t *file, size_t n_bytes, ms_arena *arena,
                    msim_error *err) {
    size_t n_tracks = 0, longest = 0, length;
    for (size_t at = MS_SMF_HEADER_BYTES; next_chunk(file, n_bytes, at, &length);
         at += MS_SMF_CHUNK_HEADER_BYTES + length) {
        n_tracks++;
        if (length > longest) longest = length;
    }
    if (n_tracks == 0) {
        put_empty_file(z);
        return MSIM_OK;
    }
    if (n_tracks > MOST_TRACKS)
        return ms_fail(err, MSIM_E_FORMAT, "bad MIDI: expected at most %d tracks, got %zu",
                       MOST_TRACKS, n_tracks);
    int rc = take_scratch(z, longest, arena, err);
    if (rc < 0) return rc;
    put(z, (const uint8_t *)"MThd\0\0\0\6", 9);
    put(z,
        (uint8_t[]){n_tracks != 1, (uint8_t)(n_tracks >> 8), (uint8_t)n_tracks, file[12], file[13]},
        5);
    for (size_t at = MS_SMF_HEADER_BYTES; rc >= 0 && next_chunk(file, n_bytes, at, &length);
         at += MS_SMF_CHUNK_HEADER_BYTES + length) {
        z->p = file + at + MS_SMF_CHUNK_HEADER_BYTES;
        z->end = z->p + length;
        z->n_events = z->n_order = z->moment = 0;
        rc = read_track(z, err);
        if (rc >= 0) rc = put_track(z, err);
    }
    return rc;
}

int64_t ms_canonical(const uint8_t *file, size_t n_bytes, ms_arena *arena, uint8_t *out, size_t cap,
                     int *outcome, msim_error *err) {
    normalizer z = {.file = file, .out = out, .out_end = cap ? out + cap : out}; /* or NULL */
    int rc = MSIM_OK;
    *outcome = MSIM_OUTCOME_BAD_MIDI;
    if (n_bytes > MS_SMF_MAX_BYTES)
        return ms_fail(err, MSIM_E_LIMIT, "MIDI file: expected at most %zu bytes, got %zu",
                       MS_SMF_MAX_BYTES, n_bytes);
    if (n_bytes >= 4 && n_bytes < MS_SMF_HEADER_BYTES) {
        *outcome = MSIM_OUTCOME_NOT_MIDI;
        return ms_fail(err, MSIM_E_FORMAT, "not MIDI: expected at least %d bytes, got %zu",
                       MS_SMF_HEADER_BYTES, n_bytes);
    }
    if (n_bytes < 4 || ms_smf_be32(file + 4) != 6)
        put_empty_file(&z);
    else
        rc = put_file(&z, file, n_bytes, arena, err);
    if (rc < 0) return rc;
    if (z.is_full)
        return ms_fail(err, MSIM_E_LIMIT,
                       "canonical MIDI: expected room for at most %zu bytes, got %zu",
                       ms_canonical_bound(n_bytes), cap);
    *outcome = MSIM_OUTCOME_TOKENS;
    return z.out - out;
}
