/* Pairs: what shares notes is found whichever piece asks, once or from both sides; hundreds of
 * versions hold together; a comparison says the same from either side. */
#include "support/files.h"
#include "support/pieces.h"
#include "support/test.h"
#include <math.h>

enum { TUNES = 40, NOTES = 300, VERSIONS = 300 };

static msim_notes *notes;

static int set_up(void **state) {
    if (folder_open(state) < 0) return -1;
    return 0;
}

static int tear_down(void **state) {
    msim_notes_close(notes);
    return folder_close(state);
}

/* A tune in another key and tempo, with some of its notes at another pitch. */
static size_t alter(int tune, int transpose, double tempo, int changed_percent, uint64_t seed,
                    msim_note *out) {
    make_tune((uint64_t)tune + 1, NOTES, out);
    for (size_t i = 0; i < NOTES; i++) {
        const uint64_t r = splitmix(&seed);
        out[i].start_ms = (uint32_t)lround(out[i].start_ms * tempo);
        out[i].pitch = (uint8_t)(out[i].pitch + transpose);
        if ((int)(r % 100) < changed_percent) out[i].pitch = (uint8_t)(40 + (r >> 32) % 50);
    }
    return NOTES;
}

static void add(msim_notes_builder *b, const char *name, const msim_note *tune, size_t n) {
    const msim_piece_notes piece = piece_of(tune, n);
    assert_int_equal(msim_notes_builder_add(b, name, strlen(name), NULL, &piece, NULL), 0);
}

static msim_notes *finish(msim_notes_builder *b, const char *path) {
    msim_notes *opened;
    assert_int_equal(msim_notes_builder_finish(b, NULL), 0);
    msim_notes_builder_close(b);
    assert_int_equal(msim_notes_open(path, &opened, NULL), 0);
    return opened;
}

/* TUNES tunes; then "u": tune 5 up and slower; "v": the same, half its length; "w": tune 9. */
static void make_index(void **state) {
    (void)state;
    msim_notes_builder *b;
    static msim_note tune[NOTES];
    assert_int_equal(msim_notes_builder_open(in_folder("x.notes"), NULL, &b, NULL), 0);
    add_tunes(b, 0, TUNES, NOTES);
    add(b, "u", tune, alter(5, 4, 1.2, 0, 1, tune));
    add(b, "v", tune, alter(5, -3, 0.9, 0, 1, tune) / 2);
    add(b, "w", tune, alter(9, 0, 1, 12, 7, tune));
    notes = finish(b, in_folder("x.notes"));
}

typedef struct {
    int64_t a[4096], b[4096];
    msim_note_match match[4096];
    int n, stop_at;
} seen_pairs;

static int keep(void *user, int64_t a, const msim_note_match *match) {
    seen_pairs *s = user;
    assert_true(s->n < 4096);
    assert_null(match->others);
    s->a[s->n] = a;
    s->b[s->n] = match->piece;
    s->match[s->n++] = *match;
    return s->n == s->stop_at;
}

static seen_pairs seen;

static void find(const msim_pairs_options *options, int64_t n) {
    seen.n = seen.stop_at = 0;
    assert_int_equal(msim_notes_pairs(notes, options, keep, &seen, NULL), n);
    assert_int_equal(seen.n, n);
}

static void assert_pair(int i, int64_t a, int64_t b, int relation) {
    assert_int_equal(seen.a[i], a);
    assert_int_equal(seen.b[i], b);
    assert_int_equal(seen.match[i].relation, relation);
}

/* "u" is 40, "v" 41, "w" 42. */
static void each_pair_once(void **state) {
    (void)state;
    find(NULL, 4);
    assert_pair(0, 5, 40, MSIM_RELATION_SAME_NOTES);
    assert_pair(1, 5, 41, MSIM_RELATION_CONTAINS);
    assert_pair(2, 9, 42, MSIM_RELATION_SAME_PIECE);
    assert_pair(3, 40, 41, MSIM_RELATION_CONTAINS);
    assert_int_equal(seen.match[0].transpose, 4);
    assert_false(seen.match[0].is_same_key || seen.match[0].is_same_tempo);
    assert_true(seen.match[2].is_same_key && seen.match[2].is_same_tempo);
    assert_true(fabs(seen.match[0].tempo - 1.2) < 0.01);
    assert_true(fabs(seen.match[1].place.to - 0.9 * seen.match[1].place.query_to) < 0.5);
}

static void either_side(void **state) {
    (void)state;
    static seen_pairs one;
    msim_pairs_options o = msim_pairs_options_default();
    o.gives_both = 1;
    o.threads = 1;
    find(&o, 8);
    one = seen;
    for (int i = 1; i < seen.n; i++)
        assert_true(seen.a[i] > seen.a[i - 1] ||
                    (seen.a[i] == seen.a[i - 1] && seen.b[i] > seen.b[i - 1]));
    assert_pair(3, 40, 5, MSIM_RELATION_SAME_NOTES);
    assert_pair(5, 41, 5, MSIM_RELATION_PART_OF);
    assert_int_equal(seen.match[5].n_matched, seen.match[1].n_matched);
    assert_int_equal(seen.match[5].transpose, -seen.match[1].transpose);
    o.threads = 3;
    find(&o, 8);
    assert_memory_equal(&one, &seen, sizeof seen);
}

static void who_asks(void **state) {
    (void)state;
    unsigned char asks[TUNES + 3] = {0};
    msim_pairs_options o = msim_pairs_options_default();
    o.asks = asks;
    find(&o, 0);
    asks[40] = asks[42] = 1;
    find(&o, 3);
    assert_pair(0, 40, 5, MSIM_RELATION_SAME_NOTES);
    assert_pair(1, 40, 41, MSIM_RELATION_CONTAINS);
    assert_pair(2, 42, 9, MSIM_RELATION_SAME_PIECE);
    o.first = 41;
    find(&o, 1);
    o.asks = NULL;
    o.first = 5;
    o.count = 5;
    find(&o, 3);
    o.count = 0;
    find(&o, 0);
    o = msim_pairs_options_default();
    o.relations = 1u << MSIM_RELATION_SAME_PIECE;
    find(&o, 1);
    o.relations = 0;
    o.is_same_key = 1;
    find(&o, 1);
}

static void two_indexes(void **state) {
    (void)state;
    msim_notes_builder *b;
    static msim_note tune[NOTES];
    msim_note_match match;
    assert_int_equal(msim_notes_builder_open(in_folder("y.notes"), NULL, &b, NULL), 0);
    add(b, "a", tune, alter(7, 2, 1, 5, 3, tune));
    add(b, "b", tune, alter(77, 0, 1, 0, 3, tune));
    msim_notes *other = finish(b, in_folder("y.notes"));
    msim_pairs_options o = msim_pairs_options_default();
    o.against = other;
    find(&o, 1);
    assert_pair(0, 7, 0, MSIM_RELATION_SAME_PIECE);
    assert_int_equal(msim_notes_compare(notes, 7, other, 0, &match, NULL), 0);
    assert_int_equal(match.n_matched, seen.match[0].n_matched);
    assert_int_equal(match.transpose, 2);
    assert_int_equal(msim_notes_compare(notes, 7, other, 1, &match, NULL), 0);
    assert_int_equal(match.relation, MSIM_RELATION_NONE);
    msim_notes_close(other);
}

static void the_same_from_either_side(void **state) {
    (void)state;
    msim_comparer *c;
    msim_note_match x, y;
    assert_int_equal(msim_comparer_open(notes, notes, 1e-3, &c, NULL), 0);
    for (int64_t a = 0; a < TUNES + 3; a += 2)
        for (int64_t b = a + 1; b < TUNES + 3; b += 3) {
            assert_int_equal(msim_comparer_compare(c, a, b, &x, NULL), 0);
            assert_int_equal(msim_comparer_compare(c, b, a, &y, NULL), 0);
            assert_int_equal(x.piece, b);
            assert_int_equal(y.piece, a);
            assert_int_equal(x.n_matched, y.n_matched);
            assert_int_equal(x.of_query, y.of_piece);
            assert_int_equal(x.transpose, -y.transpose);
            assert_true(x.relation == y.relation || (x.relation == MSIM_RELATION_CONTAINS &&
                                                     y.relation == MSIM_RELATION_PART_OF));
            if (x.is_significant) assert_true(fabs(x.score - y.score) < 1e-6 * x.score);
        }
    assert_int_equal(msim_comparer_compare(c, 0, TUNES + 3, &x, NULL), -MSIM_E_ARG);
    assert_int_equal(msim_comparer_compare(c, -1, 0, &x, NULL), -MSIM_E_ARG);
    msim_comparer_close(c);
    assert_int_equal(msim_comparer_open(notes, notes, NAN, &c, NULL), -MSIM_E_ARG);
    assert_null(c);
}

/* Without an index: each pair is two notes that agree, in the caller's order, whatever that is. */
static void aligned_without_an_index(void **state) {
    (void)state;
    static msim_note a[NOTES], b[NOTES + 2];
    const msim_passage *found;
    msim_aligner *aligner;
    msim_error err;
    make_tune(6, NOTES, a);
    alter(5, 4, 1.2, 0, 1, b + 2);
    for (size_t i = 2; i < NOTES + 2; i++) b[i].start_ms += 5000;
    b[0] = b[NOTES + 1]; /* out of order */
    b[1] = b[NOTES];     /* doubled: numbered as the first of them */
    assert_int_equal(msim_aligner_open(&aligner, NULL), 0);
    const int64_t n = msim_aligner_align(aligner, a, NOTES, b, NOTES + 2, &found, NULL);
    assert_true(n >= 1);
    assert_int_equal(found[0].transpose, 4);
    assert_true(fabs(found[0].tempo - 1.2) < 0.01);
    assert_true(found[0].place.n_matched > NOTES * 9 / 10);
    for (int64_t i = 0; i < found[0].place.n_matched; i++) {
        const msim_note_pair pair = found[0].pairs[i];
        assert_in_range(pair.query, 0, NOTES - 1);
        assert_in_range(pair.piece, 0, NOTES + 1);
        assert_int_equal(a[pair.query].pitch + 4, b[pair.piece].pitch);
        assert_true(fabs(5000 + a[pair.query].start_ms * 1.2 - b[pair.piece].start_ms) < 200);
    }
    assert_int_equal(msim_aligner_align(aligner, a, 0, b, NOTES, &found, NULL), 0);
    make_tune(77, NOTES, b);
    for (int64_t i = msim_aligner_align(aligner, a, NOTES, b, NOTES, &found, NULL); i-- > 0;)
        assert_true(found[i].place.n_matched < NOTES / 4);
    a[3].pitch = 200;
    assert_int_equal(msim_aligner_align(aligner, a, NOTES, b, NOTES, &found, &err), -MSIM_E_ARG);
    msim_aligner_close(aligner);
    msim_aligner_close(NULL);
}

static int stop_at_once(void *user, int stage, int64_t done, int64_t all) {
    assert_true(done <= all);
    return *(int *)user == stage;
}

static void stopping(void **state) {
    (void)state;
    msim_pairs_options o = msim_pairs_options_default();
    msim_error err;
    int stage = MSIM_PAIRS_ASKING;
    o.progress = stop_at_once;
    o.progress_user = &stage;
    seen.n = seen.stop_at = 0;
    assert_int_equal(msim_notes_pairs(notes, &o, keep, &seen, &err), -MSIM_E_STOPPED);
    assert_int_equal(seen.n, 0);
    stage = MSIM_PAIRS_COMPARING;
    assert_int_equal(msim_notes_pairs(notes, &o, keep, &seen, &err), -MSIM_E_STOPPED);
    o.progress = NULL;
    seen.n = 0;
    seen.stop_at = 2;
    assert_int_equal(msim_notes_pairs(notes, &o, keep, &seen, &err), -MSIM_E_STOPPED);
    assert_int_equal(seen.n, 2);
    o.first = TUNES + 4;
    assert_int_equal(msim_notes_pairs(notes, &o, keep, &seen, &err), -MSIM_E_ARG);
    o.first = 0;
    o.relations = 1u << MSIM_RELATION_COUNT;
    assert_int_equal(msim_notes_pairs(notes, &o, keep, &seen, &err), -MSIM_E_ARG);
}

/* The group of a piece: one of lower number stands for it. */
static int64_t group_of(const int64_t *joined, int64_t piece) {
    while (joined[piece] != piece) piece = joined[piece];
    return piece;
}

static int join(void *user, int64_t a, const msim_note_match *match) {
    int64_t *joined = user;
    const int64_t x = group_of(joined, a), y = group_of(joined, match->piece);
    joined[x > y ? x : y] = x < y ? x : y;
    return 0;
}

/* Every word of theirs is in more pieces than a look-up takes. */
static void versions_hold_together(void **state) {
    (void)state;
    msim_notes_builder *b;
    static msim_note tune[NOTES];
    int64_t joined[VERSIONS];
    assert_int_equal(msim_notes_builder_open(in_folder("v.notes"), NULL, &b, NULL), 0);
    for (int i = 0; i < VERSIONS; i++) {
        char name[32];
        snprintf(name, sizeof name, "%03d", i);
        add(b, name, tune, alter(1, i % 7 - 3, 0.8 + i % 5 * 0.1, 5, (uint64_t)i, tune));
        joined[i] = i;
    }
    msim_notes *versions = finish(b, in_folder("v.notes"));
    const int64_t n = msim_notes_pairs(versions, NULL, join, joined, NULL);
    assert_true(n >= VERSIONS && n <= VERSIONS * 48);
    for (int i = 0; i < VERSIONS; i++) assert_int_equal(group_of(joined, i), 0);
    msim_notes_close(versions);
}

/* A scale says nothing, but two files of one scale are copies. */
static void copies_of_anything(void **state) {
    (void)state;
    msim_notes_builder *b;
    msim_note scale[100];
    int64_t joined[60];
    assert_int_equal(msim_notes_builder_open(in_folder("s.notes"), NULL, &b, NULL), 0);
    for (int i = 0; i < 60; i++) {
        char name[32];
        snprintf(name, sizeof name, "%02d", i);
        for (int k = 0; k < 100; k++)
            scale[k] = (msim_note){.start_ms = (uint32_t)(k * (200 + i)),
                                   .duration_ms = 100,
                                   .pitch = (uint8_t)(k + i % 20)};
        add(b, name, scale, 100);
        joined[i] = i;
    }
    msim_notes *scales = finish(b, in_folder("s.notes"));
    const int64_t n = msim_notes_pairs(scales, NULL, join, joined, NULL);
    assert_true(n >= 59);
    for (int i = 0; i < 60; i++) assert_int_equal(group_of(joined, i), 0);
    msim_notes_close(scales);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(make_index),         cmocka_unit_test(each_pair_once),
        cmocka_unit_test(either_side),        cmocka_unit_test(who_asks),
        cmocka_unit_test(two_indexes),        cmocka_unit_test(the_same_from_either_side),
        cmocka_unit_test(stopping),           cmocka_unit_test(versions_hold_together),
        cmocka_unit_test(copies_of_anything), cmocka_unit_test(aligned_without_an_index),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
