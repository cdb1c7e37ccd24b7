/* Times, voices, durations and bars of a piece as bytes: see details.h. */
#include "notes/file/details.h"
#include "notes/file/bytes.h"

enum { DURATION_BITS = 5, DURATIONS = 1 << DURATION_BITS, NAME_MAX_BYTES = 4096 };

/* 20 * 2^(i / 3) - 20, rounded. */
static const uint32_t durations[DURATIONS] = {0,    5,    12,   20,    30,    43,    60,    81,
                                              107,  140,  182,  234,   300,   383,   488,   620,
                                              786,  996,  1260, 1593,  2012,  2540,  3205,  4044,
                                              5100, 6431, 8107, 10220, 12882, 16235, 20460, 25783};

static unsigned duration_code(uint32_t ms) {
    unsigned low = 0;
    for (unsigned step = DURATIONS / 2; step > 0; step /= 2)
        if (durations[low + step] <= ms) low += step;
    return low + 1 < DURATIONS && durations[low + 1] - ms < ms - durations[low] ? low + 1 : low;
}

/* ---- Writing ---- */

static size_t name_bytes_of(const msim_voice *voice) {
    return voice->name_bytes < NAME_MAX_BYTES ? voice->name_bytes : NAME_MAX_BYTES;
}

size_t ms_details_bound_around(const msim_piece_notes *piece) {
    size_t n = piece->n_bars * (MS_VARINT_MAX + 2) + 4 * MS_VARINT_MAX;
    for (size_t v = 0; v < piece->n_voices; v++)
        n += 2 + 2 * MS_VARINT_MAX + name_bytes_of(&piece->voices[v]);
    return n;
}

size_t ms_details_bound(const ms_canon *c, const msim_piece_notes *piece) {
    return c->n_groups * 2 * MS_VARINT_MAX + c->n * 3 + 64 + ms_details_bound_around(piece);
}

static uint8_t *put_groups(const ms_canon *c, uint8_t *p) {
    uint32_t last = 0;
    for (size_t i = 0, next; i < c->n; i = next) {
        for (next = i + 1; next < c->n && c->group[next] == c->group[i]; next++) {
        }
        const uint64_t gap = c->time[i] - last;
        p = ms_varint_put(p, gap << 1 | (next - i > 1));
        if (next - i > 1) p = ms_varint_put(p, next - i - 2);
        last = c->time[i];
    }
    return p;
}

uint8_t *ms_details_put_voices(const msim_piece_notes *piece, uint8_t *p) {
    p = ms_varint_put(p, piece->n_voices);
    for (size_t v = 0; v < piece->n_voices; v++) {
        const msim_voice *voice = &piece->voices[v];
        p = ms_varint_put(p, voice->track);
        *p++ = voice->channel;
        *p++ = voice->program;
        if (v > 0 && voice->track == voice[-1].track) continue;
        const size_t n = name_bytes_of(voice);
        p = ms_varint_put(p, n);
        if (n) memcpy(p, voice->name, n);
        p += n;
    }
    return p;
}

uint8_t *ms_details_put_bars(const msim_piece_notes *piece, uint8_t *p) {
    int64_t last_start = 0, last_length = 0;
    unsigned beats = 0, unit = 0;
    p = ms_varint_put(p, piece->n_bars);
    for (size_t b = 0; b < piece->n_bars; b++) {
        const msim_bar *bar = &piece->bars[b];
        const int64_t length = bar->start_ms - last_start;
        const bool is_new = bar->beats != beats || bar->beat_unit != unit;
        p = ms_varint_put(p, ms_zigzag(length - last_length) << 1 | is_new);
        if (is_new) {
            *p++ = bar->beats;
            *p++ = (uint8_t)(ms_bits_for(bar->beat_unit) - 1);
        }
        last_start = bar->start_ms;
        last_length = length;
        beats = bar->beats;
        unit = bar->beat_unit;
    }
    return p;
}

size_t ms_details_put(const ms_canon *c, const msim_piece_notes *piece, uint8_t *out) {
    uint8_t *p = ms_details_put_voices(piece, put_groups(c, out));
    const unsigned width = ms_bits_for(piece->n_voices ? piece->n_voices - 1 : 0);
    memset(p, 0, ms_packed_bytes(c->n, width) + 8);
    for (size_t i = 0; i < c->n && width; i++) ms_packed_put(p, i, width, c->voice[i]);
    p += ms_packed_bytes(c->n, width);
    memset(p, 0, ms_packed_bytes(c->n, DURATION_BITS) + 8);
    for (size_t i = 0; i < c->n; i++)
        ms_packed_put(p, i, DURATION_BITS, duration_code(c->end[i] - c->time[i]));
    p += ms_packed_bytes(c->n, DURATION_BITS);
    return (size_t)(ms_details_put_bars(piece, p) - out);
}

/* ---- Reading ---- */

static bool get_groups(const uint8_t **p, const uint8_t *end, size_t n, uint32_t *time) {
    uint64_t now = 0, value, more;
    for (size_t i = 0; i < n;) {
        size_t notes = 1;
        if (!ms_varint_get(p, end, &value)) return false;
        now += value >> 1;
        if (value >> 1 > MSIM_NOTE_MAX_MS || now > MSIM_NOTE_MAX_MS) return false;
        if (value & 1) {
            if (!ms_varint_get(p, end, &more) || more > n - i || more + 2 > n - i) return false;
            notes = (size_t)more + 2;
        }
        for (size_t k = 0; k < notes; k++) time[i++] = (uint32_t)now;
    }
    return true;
}

bool ms_details_times(const uint8_t *bytes, size_t n_bytes, size_t n_notes, uint32_t *time,
                      const uint8_t **voices) {
    *voices = bytes;
    return get_groups(voices, bytes + n_bytes, n_notes, time);
}

static int bad(msim_error *err) {
    return ms_fail(err, MSIM_E_FORMAT, "note index: the details of a piece are damaged");
}

int ms_details_get_voices(const uint8_t **p, const uint8_t *end, ms_arena *arena,
                          msim_piece_notes *out, msim_error *err) {
    uint64_t n, track, name_bytes;
    /* A voice takes at least three bytes. */
    if (!ms_varint_get(p, end, &n) || n > (uint64_t)(end - *p) / 3 || n > UINT16_MAX + 1)
        return bad(err);
    msim_voice *voices = ms_arena_get(arena, (size_t)n, sizeof *voices, "voices", err);
    if (!voices) return -MSIM_E_MEMORY;
    for (size_t v = 0; v < n; v++) {
        if (!ms_varint_get(p, end, &track) || track > UINT16_MAX || end - *p < 2) return bad(err);
        voices[v] = (msim_voice){.track = (uint16_t)track,
                                 .channel = (*p)[0] & 15,
                                 .program = (*p)[1] & 127,
                                 .name = ""};
        *p += 2;
        if (v > 0 && track == voices[v - 1].track) {
            voices[v].name = voices[v - 1].name;
            voices[v].name_bytes = voices[v - 1].name_bytes;
            continue;
        }
        if (!ms_varint_get(p, end, &name_bytes) || name_bytes > (uint64_t)(end - *p))
            return bad(err);
        voices[v].name = (const char *)*p;
        voices[v].name_bytes = (size_t)name_bytes;
        *p += name_bytes;
    }
    out->voices = voices;
    out->n_voices = (size_t)n;
    return MSIM_OK;
}

int ms_details_get_bars(const uint8_t *p, const uint8_t *end, ms_arena *arena,
                        msim_piece_notes *out, msim_error *err) {
    uint64_t n, value;
    int64_t start = 0, length = 0;
    msim_bar last = {.beats = 4, .beat_unit = 4};
    if (!ms_varint_get(&p, end, &n) || n > (uint64_t)(end - p)) return bad(err);
    msim_bar *bars = ms_arena_get(arena, (size_t)n, sizeof *bars, "bars", err);
    if (!bars) return -MSIM_E_MEMORY;
    for (size_t b = 0; b < n; b++) {
        if (!ms_varint_get(&p, end, &value)) return bad(err);
        const int64_t change = ms_unzigzag(value >> 1);
        if (change > MSIM_NOTE_MAX_MS || change < -(int64_t)MSIM_NOTE_MAX_MS) return bad(err);
        length += change;
        start += length;
        if (length < 0 || start > MSIM_NOTE_MAX_MS) return bad(err);
        if (value & 1) {
            if (end - p < 2 || p[0] == 0 || p[1] > 7) return bad(err);
            last.beats = p[0];
            last.beat_unit = (uint8_t)(1 << p[1]);
            p += 2;
        }
        last.start_ms = (uint32_t)start;
        bars[b] = last;
    }
    out->bars = bars;
    out->n_bars = (size_t)n;
    return MSIM_OK;
}

/* The 8 bytes that a packed read touches lie in the file, whose tail follows. */
static int get_notes(const uint8_t **p, const uint8_t *end, const uint8_t *pitches,
                     msim_note *notes, size_t n, size_t n_voices, msim_error *err) {
    const unsigned width = ms_bits_for(n_voices ? n_voices - 1 : 0);
    const size_t voice_bytes = ms_packed_bytes(n, width),
                 duration_bytes = ms_packed_bytes(n, DURATION_BITS);
    if ((size_t)(end - *p) < voice_bytes || (size_t)(end - *p) - voice_bytes < duration_bytes)
        return bad(err);
    for (size_t i = 0; i < n; i++) {
        const uint64_t voice = width ? ms_packed_get(*p, i, width) : 0;
        if (voice >= n_voices) return bad(err);
        notes[i].voice = (uint16_t)voice;
        notes[i].pitch = pitches[i] & 127;
        notes[i].duration_ms = durations[ms_packed_get(*p + voice_bytes, i, DURATION_BITS)];
    }
    *p += voice_bytes + duration_bytes;
    return MSIM_OK;
}

int ms_details_count_voices(const uint8_t *p, const uint8_t *end, size_t n_notes,
                            const uint32_t *chosen, size_t n_chosen, ms_arena *arena,
                            uint32_t **counts, size_t *n_voices, msim_error *err) {
    msim_piece_notes piece = {.size = sizeof piece};
    int rc = ms_details_get_voices(&p, end, arena, &piece, err);
    if (rc < 0) return rc;
    *n_voices = piece.n_voices;
    *counts = ms_arena_get(arena, *n_voices, sizeof **counts, "voices", err);
    if (!*counts) return -MSIM_E_MEMORY;
    for (size_t v = 0; v < *n_voices; v++) (*counts)[v] = 0;
    const unsigned width = ms_bits_for(*n_voices ? *n_voices - 1 : 0);
    if ((size_t)(end - p) < ms_packed_bytes(n_notes, width)) return bad(err);
    for (size_t i = 0; i < n_chosen; i++) {
        const uint64_t voice = width ? ms_packed_get(p, chosen[i], width) : 0;
        if (voice >= *n_voices) return bad(err);
        (*counts)[voice]++;
    }
    return MSIM_OK;
}

int ms_details_get(const uint8_t *bytes, size_t n_bytes, const uint8_t *pitches, size_t n_notes,
                   ms_arena *arena, msim_piece_notes *out, msim_error *err) {
    const uint8_t *p = bytes, *const end = bytes + n_bytes;
    uint32_t *time = ms_arena_get(arena, n_notes, sizeof *time, "notes", err);
    msim_note *notes = time ? ms_arena_get(arena, n_notes, sizeof *notes, "notes", err) : NULL;
    if (!notes) return -MSIM_E_MEMORY;
    if (!get_groups(&p, end, n_notes, time)) return bad(err);
    for (size_t i = 0; i < n_notes; i++) notes[i] = (msim_note){.start_ms = time[i]};
    int rc = ms_details_get_voices(&p, end, arena, out, err);
    if (rc >= 0) rc = get_notes(&p, end, pitches, notes, n_notes, out->n_voices, err);
    if (rc >= 0) rc = ms_details_get_bars(p, end, arena, out, err);
    out->notes = notes;
    out->n_notes = n_notes;
    return rc;
}
