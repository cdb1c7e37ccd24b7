/* What must not look certain: figures that any piece may have, however long, and passages that many
 * pieces share. And what short phrases are ranked by where chance has all their pitches too. */
#include "support/files.h"
#include "support/pieces.h"
#include "support/test.h"

enum { TUNES = 100, NOTES = 200, FIGURE = 120, KINDS = 4 };

static msim_note_match first; /* of the last search */

/* Search an index that `add` fills besides TUNES tunes. Returns the number of matches. */
static int64_t search(void (*add)(msim_notes_builder *), const msim_note *query, size_t n) {
    msim_notes_builder *b;
    msim_notes *notes;
    msim_finder *f;
    const msim_note_match *m;
    assert_int_equal(msim_notes_builder_open(in_folder("index"), NULL, &b, NULL), 0);
    add_tunes(b, 0, TUNES, NOTES);
    add(b);
    assert_int_equal(msim_notes_builder_finish(b, NULL), 0);
    msim_notes_builder_close(b);
    assert_int_equal(msim_notes_open(in_folder("index"), &notes, NULL), 0);
    assert_int_equal(msim_finder_open(notes, NULL, &f, NULL), 0);
    const int64_t found = msim_finder_find(f, query, n, &m, NULL);
    assert_true(found >= 0);
    if (found > 0) first = m[0];
    msim_finder_close(f);
    msim_notes_close(notes);
    remove(in_folder("index"));
    return found;
}

static void add_piece(msim_notes_builder *b, const char *name, const msim_note *notes, size_t n) {
    const msim_piece_notes piece = piece_of(notes, n);
    assert_int_equal(msim_notes_builder_add(b, name, strlen(name), NULL, &piece, NULL), 0);
}

/* ---- Figures ---- */

/* A trill, a chromatic scale up and down, broken chords, one note again and again. */
static void make_figure(int kind, uint32_t step_ms, msim_note *out) {
    static const int broken[4] = {0, 7, 4, 7};
    for (int i = 0; i < FIGURE; i++) {
        const int turn = i % 48;
        const int moves[KINDS] = {i % 2 * 2, turn < 24 ? turn : 48 - turn, broken[i % 4], 0};
        out[i] = (msim_note){.start_ms = (uint32_t)i * step_ms,
                             .duration_ms = step_ms,
                             .pitch = (uint8_t)(60 + moves[kind])};
    }
}

/* Tunes with a figure inside. */
static void add_figures(msim_notes_builder *b) {
    static msim_note notes[NOTES + FIGURE];
    for (int p = 0; p < 5 * KINDS; p++) {
        char name[32];
        snprintf(name, sizeof name, "figure %02d", p);
        make_tune(1000 + (uint64_t)p, NOTES, notes);
        make_figure(p % KINDS, 120, notes + NOTES);
        for (int i = 0; i < FIGURE; i++)
            notes[NOTES + i].start_ms += notes[NOTES - 1].start_ms + 400;
        add_piece(b, name, notes, NOTES + FIGURE);
    }
}

static void figures_prove_nothing(void **state) {
    (void)state;
    msim_note query[FIGURE];
    for (int kind = 0; kind < KINDS; kind++) {
        make_figure(kind, 140, query);
        if (search(add_figures, query, FIGURE) > 0 && first.is_significant)
            fail_msg("figure %d has E %g", kind, first.evalue);
    }
}

/* ---- Passages that many pieces share ---- */

static int n_sharing;

/* n_sharing tunes of which each goes through the same 40 notes. */
static void add_sharing(msim_notes_builder *b) {
    static msim_note notes[2 * NOTES], shared[40];
    make_tune(77, 40, shared);
    for (int p = 0; p < n_sharing; p++) {
        char name[32];
        snprintf(name, sizeof name, "sharing %02d", p);
        make_tune(2000 + (uint64_t)p, 2 * NOTES, notes);
        for (int i = 0; i < 40; i++) {
            notes[NOTES + i].pitch = shared[i].pitch;
            notes[NOTES + i].start_ms = notes[NOTES - 1].start_ms + 400 + shared[i].start_ms;
        }
        for (int i = NOTES + 40; i < 2 * NOTES; i++) notes[i].start_ms += 10000;
        add_piece(b, name, notes, 2 * NOTES);
    }
}

static void common_passages_prove_little(void **state) {
    (void)state;
    static msim_note query[2 * NOTES];
    make_tune(3000, 2 * NOTES, query);
    msim_note shared[40];
    make_tune(77, 40, shared);
    for (int i = 0; i < 40; i++) {
        query[NOTES + i].pitch = shared[i].pitch;
        query[NOTES + i].start_ms = query[NOTES - 1].start_ms + 400 + shared[i].start_ms;
    }
    for (int i = NOTES + 40; i < 2 * NOTES; i++) query[i].start_ms += 10000;
    n_sharing = 5;
    assert_true(search(add_sharing, query, 2 * NOTES) > 0);
    assert_true(first.is_significant);
    assert_int_equal(first.relation, MSIM_RELATION_PASSAGE);
    n_sharing = 30;
    assert_true(search(add_sharing, query, 2 * NOTES) > 0);
    assert_true(!first.is_significant && first.evalue >= 0.01);
}

/* ---- Short phrases ---- */

static msim_note phrase[8];

/* The same eight notes in three pieces: twice as fast, in another key, and as they are. */
static void add_phrases(msim_notes_builder *b) {
    msim_note fast[8], moved[8], plain[8];
    for (int i = 0; i < 8; i++) {
        fast[i] = moved[i] = plain[i] = phrase[i];
        fast[i].start_ms /= 2;
        moved[i].pitch = (uint8_t)(moved[i].pitch - 14);
    }
    add_piece(b, "fast", fast, 8);
    add_piece(b, "moved", moved, 8);
    add_piece(b, "plain", plain, 8);
}

static void short_phrases_are_ranked(void **state) {
    (void)state;
    make_tune(500, 8, phrase);
    assert_true(search(add_phrases, phrase, 8) >= 3);
    assert_int_equal(first.piece, 2); /* in order of name, before the tunes */
}

/* Fast notes that were played as chords are found as they were written. */
static void add_run(msim_notes_builder *b) {
    msim_note run[8];
    for (int i = 0; i < 8; i++) {
        run[i] = phrase[i];
        run[i].start_ms = (uint32_t)i * 90;
    }
    add_piece(b, "run", run, 8);
}

static void what_was_played_as_a_chord(void **state) {
    (void)state;
    static const uint8_t pitches[8] = {60, 62, 67, 71, 64, 69, 59, 74};
    msim_note query[8];
    for (int i = 0; i < 8; i++) {
        phrase[i] = (msim_note){.pitch = pitches[i], .duration_ms = 90};
        query[i] = phrase[i];
        query[i].start_ms = (uint32_t)i * 90;
    }
    query[2].start_ms -= 45; /* two chords, whose order is falling */
    query[5].start_ms -= 45;
    assert_true(search(add_run, query, 8) >= 1);
    assert_int_equal(first.piece, 0);
    assert_true(first.n_matched >= 7);
}

/* ---- Bounds ---- */

/* A piece of one word, again and again. */
static void add_one_word(msim_notes_builder *b) {
    enum { LONG = 100000 };
    msim_note *notes = calloc(LONG, sizeof *notes);
    assert_non_null(notes);
    for (int i = 0; i < LONG; i++)
        notes[i] = (msim_note){.start_ms = (uint32_t)i * 100, .pitch = (uint8_t)(60 + i % 2)};
    add_piece(b, "one word", notes, LONG);
    free(notes);
}

static void a_piece_of_one_word(void **state) {
    (void)state;
    msim_note query[FIGURE];
    make_figure(0, 100, query);
    for (int i = 0; i < FIGURE; i++) query[i].pitch = (uint8_t)(60 + i % 2);
    const int64_t n = search(add_one_word, query, FIGURE);
    assert_true(n == 0 || !first.is_significant);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_prove_nothing),    cmocka_unit_test(common_passages_prove_little),
        cmocka_unit_test(short_phrases_are_ranked), cmocka_unit_test(what_was_played_as_a_chord),
        cmocka_unit_test(a_piece_of_one_word),
    };
    return cmocka_run_group_tests(tests, folder_open, folder_close);
}
