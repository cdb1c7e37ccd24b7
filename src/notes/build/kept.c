/* Notes as bytes: see kept.h. */
#include "notes/build/kept.h"
#include "notes/file/bytes.h"
#include "notes/file/details.h"

size_t ms_kept_bound(const msim_piece_notes *piece) {
    /* Times take five bytes at most, voices three. */
    return ms_details_bound_around(piece) + MS_VARINT_MAX + piece->n_notes * (5 + 1 + 5 + 3);
}

size_t ms_kept_put(const msim_piece_notes *piece, uint8_t *out) {
    uint8_t *p = ms_varint_put(ms_details_put_voices(piece, out), piece->n_notes);
    uint32_t last = 0;
    for (size_t i = 0; i < piece->n_notes; i++) {
        const msim_note *note = &piece->notes[i];
        p = ms_varint_put(p, note->start_ms - last);
        *p++ = note->pitch & 127;
        p = ms_varint_put(p, note->duration_ms);
        if (piece->n_voices > 1) p = ms_varint_put(p, note->voice);
        last = note->start_ms;
    }
    return (size_t)(ms_details_put_bars(piece, p) - out);
}

static int bad(msim_error *err) {
    return ms_fail(err, MSIM_E_FORMAT, "the kept notes of a piece are damaged");
}

/* False: no note begins here. */
static bool get_note(const uint8_t **p, const uint8_t *end, size_t n_voices, uint64_t *now,
                     msim_note *out) {
    uint64_t step, duration, voice = 0;
    if (!ms_varint_get(p, end, &step) || step > MSIM_NOTE_MAX_MS || *p == end) return false;
    const uint8_t pitch = *(*p)++;
    if (!ms_varint_get(p, end, &duration) || duration > UINT32_MAX || pitch > 127) return false;
    if (n_voices > 1 && !ms_varint_get(p, end, &voice)) return false;
    *now += step;
    if (*now > MSIM_NOTE_MAX_MS || voice >= n_voices) return false;
    *out = (msim_note){.start_ms = (uint32_t)*now,
                       .duration_ms = (uint32_t)duration,
                       .voice = (uint16_t)voice,
                       .pitch = pitch};
    return true;
}

int ms_kept_get(const uint8_t *bytes, size_t n_bytes, ms_arena *arena, msim_piece_notes *out,
                msim_error *err) {
    const uint8_t *p = bytes, *const end = bytes + n_bytes;
    uint64_t n, now = 0;
    *out = (msim_piece_notes){.size = sizeof *out};
    int rc = ms_details_get_voices(&p, end, arena, out, err);
    if (rc < 0) return rc;
    /* A note takes at least three bytes. */
    if (!ms_varint_get(&p, end, &n) || n > (uint64_t)(end - p) / 3) return bad(err);
    msim_note *notes = ms_arena_get(arena, (size_t)n, sizeof *notes, "notes", err);
    if (!notes) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < n; i++)
        if (!get_note(&p, end, out->n_voices, &now, &notes[i])) return bad(err);
    out->notes = notes;
    out->n_notes = (size_t)n;
    return ms_details_get_bars(p, end, arena, out, err);
}
