/* Made-up pieces for tests of the note index: random tunes, which share nothing but chance. */
#ifndef TEST_SUPPORT_PIECES_H
#define TEST_SUPPORT_PIECES_H
#include "midisim.h"
#include "support/random.h"
#include "support/test.h"

static const msim_voice one_voice[1] = {{.name = "tune", .name_bytes = 4}};

/* n notes, one after the other, a step or leap from each to the next, of 150 to 600 ms. */
static inline void make_tune(uint64_t seed, size_t n, msim_note *out) {
    uint32_t now = 0;
    int pitch = 64;
    for (size_t i = 0; i < n; i++) {
        const uint64_t r = splitmix(&seed);
        pitch += (int)(r % 15) - 7;
        if (pitch < 40) pitch += 12;
        if (pitch > 90) pitch -= 12;
        const uint32_t length = 150 * (1 + (uint32_t)(r >> 32) % 4);
        out[i] = (msim_note){.start_ms = now, .duration_ms = length, .pitch = (uint8_t)pitch};
        now += length;
    }
}

static inline msim_piece_notes piece_of(const msim_note *notes, size_t n) {
    return (msim_piece_notes){.size = sizeof(msim_piece_notes),
                              .notes = notes,
                              .n_notes = n,
                              .voices = one_voice,
                              .n_voices = 1};
}

/* Add the tunes first .. last - 1 to a builder, named "tune 003". */
static inline void add_tunes(msim_notes_builder *builder, int first, int last, size_t n_notes) {
    msim_note *notes = malloc(n_notes * sizeof *notes);
    assert_non_null(notes);
    for (int t = first; t < last; t++) {
        char name[32];
        unsigned char content[MSIM_CONTENT_BYTES] = {(unsigned char)t, (unsigned char)(t >> 8)};
        snprintf(name, sizeof name, "tune %03d", t);
        make_tune((uint64_t)t + 1, n_notes, notes);
        const msim_piece_notes piece = piece_of(notes, n_notes);
        assert_int_equal(msim_notes_builder_add(builder, name, strlen(name), content, &piece, NULL),
                         0);
    }
    free(notes);
}

static inline msim_notes *index_of_tunes(const char *path, int n_tunes, size_t n_notes) {
    msim_notes_builder *builder;
    msim_notes *notes;
    assert_int_equal(msim_notes_builder_open(path, NULL, &builder, NULL), 0);
    add_tunes(builder, 0, n_tunes, n_notes);
    assert_int_equal(msim_notes_builder_finish(builder, NULL), 0);
    msim_notes_builder_close(builder);
    assert_int_equal(msim_notes_open(path, &notes, NULL), 0);
    return notes;
}
#endif
