/* Finding: what is there is found in any key and tempo with its place, what is not there is not
 * significant, and queries of any kind end. */
#include "notes/constants.h"
#include "notes/find/lookup.h"
#include "notes/verdict/relation.h"
#include "notes/verdict/significance.h"
#include "support/files.h"
#include "support/pieces.h"
#include "support/test.h"
#include <math.h>

enum { TUNES = 200, NOTES = 300 };

static msim_notes *notes;
static msim_finder *finder;

static int set_up(void **state) {
    if (folder_open(state) < 0) return -1;
    notes = index_of_tunes(in_folder("tunes"), TUNES, NOTES);
    return msim_finder_open(notes, NULL, &finder, NULL);
}

static int tear_down(void **state) {
    msim_finder_close(finder);
    msim_notes_close(notes);
    return folder_close(state);
}

/* Notes from .. from + n - 1 of a tune, in another key and tempo. */
static void take(int tune, size_t from, size_t n, int transpose, double tempo, msim_note *out) {
    static msim_note all[NOTES];
    make_tune((uint64_t)tune + 1, NOTES, all);
    for (size_t i = 0; i < n; i++) {
        out[i] = all[from + i];
        out[i].start_ms = (uint32_t)lround((all[from + i].start_ms - all[from].start_ms) * tempo);
        out[i].duration_ms = (uint32_t)lround(all[from + i].duration_ms * tempo);
        out[i].pitch = (uint8_t)(out[i].pitch + transpose);
    }
}

static const msim_note_match *find(const msim_note *query, size_t n, int64_t *n_matches) {
    const msim_note_match *matches = NULL;
    *n_matches = msim_finder_find(finder, query, n, &matches, NULL);
    assert_true(*n_matches >= 0);
    return matches;
}

static void a_copy_has_the_same_notes(void **state) {
    (void)state;
    static msim_note query[NOTES];
    int64_t n;
    take(42, 0, NOTES, 0, 1, query);
    const msim_note_match *m = find(query, NOTES, &n);
    assert_true(n > 0);
    assert_int_equal(m->piece, 42);
    assert_int_equal(m->relation, MSIM_RELATION_SAME_NOTES);
    assert_int_equal(m->n_matched, NOTES);
    assert_true(m->is_same_key && m->is_same_tempo && m->is_significant);
    for (int64_t i = 1; i < n; i++) assert_false(m[i].is_significant);
}

static void excerpts_in_any_key_and_tempo(void **state) {
    (void)state;
    static const int keys[] = {0, -7, 5};
    static const double tempos[] = {1, 0.8, 1.3};
    msim_note query[60];
    for (int i = 0; i < 60; i++) {
        const int tune = i * 3, from = 10 + i * 3, key = keys[i % 3];
        const double tempo = tempos[i / 3 % 3];
        static msim_note all[NOTES];
        int64_t n;
        make_tune((uint64_t)tune + 1, NOTES, all);
        take(tune, (size_t)from, 60, key, tempo, query);
        const msim_note_match *m = find(query, 60, &n);
        assert_true(n > 0);
        assert_int_equal(m->piece, tune);
        assert_int_equal(m->relation, MSIM_RELATION_PART_OF);
        assert_int_equal(m->transpose, -key);
        assert_true(fabs(m->tempo * tempo - 1) < 0.01);
        assert_true(fabs(m->place.from - all[from].start_ms / 1000.0) < 0.1);
        assert_true(m->evalue < 1e-3);
    }
}

/* Tunes that are not there: chance must not look like more. */
static void strangers_are_not_significant(void **state) {
    (void)state;
    static msim_note query[NOTES];
    int64_t n;
    int n_wrong = 0;
    for (uint64_t seed = 100000; seed < 100100; seed++) {
        make_tune(seed, NOTES, query);
        const msim_note_match *m = find(query, seed % 2 ? NOTES : 40, &n);
        n_wrong += n > 0 && m->is_significant;
    }
    assert_true(n_wrong <= 1); /* 0.1 are expected */
}

static void restrictions(void **state) {
    (void)state;
    msim_note query[80];
    msim_finder *f;
    const msim_note_match *m;
    unsigned char within[TUNES] = {0};
    msim_finder_options o = msim_finder_options_default();
    take(9, 20, 80, 4, 1.25, query);
    o.is_same_key = 1;
    assert_int_equal(msim_finder_open(notes, &o, &f, NULL), 0);
    int64_t n = msim_finder_find(f, query, 80, &m, NULL);
    for (int64_t i = 0; i < n; i++) assert_true(m[i].piece != 9 && m[i].transpose == 0);
    msim_finder_close(f);
    o = msim_finder_options_default();
    o.is_same_tempo = 1;
    assert_int_equal(msim_finder_open(notes, &o, &f, NULL), 0);
    n = msim_finder_find(f, query, 80, &m, NULL);
    for (int64_t i = 0; i < n; i++) assert_true(m[i].piece != 9);
    msim_finder_close(f);
    o = msim_finder_options_default();
    o.within = within;
    for (int i = 0; i < 2; i++) {
        within[9] = (unsigned char)i;
        assert_int_equal(msim_finder_open(notes, &o, &f, NULL), 0);
        n = msim_finder_find(f, query, 80, &m, NULL);
        assert_int_equal(n, i);
        msim_finder_close(f);
    }
}

/* Nothing depends on what was asked before, or by how many. */
static void answers_depend_on_the_query_alone(void **state) {
    (void)state;
    msim_note query[40], other[60];
    msim_finder *fresh;
    const msim_note_match *m, *again;
    int64_t n;
    take(3, 100, 60, 2, 1.1, other);
    take(77, 5, 40, -3, 0.9, query);
    (void)find(other, 60, &n);
    m = find(query, 40, &n);
    assert_int_equal(msim_finder_open(notes, NULL, &fresh, NULL), 0);
    assert_int_equal(msim_finder_find(fresh, query, 40, &again, NULL), n);
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(m[i].piece, again[i].piece);
        assert_true(m[i].score == again[i].score && m[i].evalue == again[i].evalue);
        assert_true(m[i].place.from == again[i].place.from);
    }
    msim_finder_close(fresh);
}

static void queries_of_any_kind_end(void **state) {
    (void)state;
    enum { LONG = 200000 };
    msim_note *query = calloc(LONG, sizeof *query);
    int64_t n;
    assert_non_null(query);
    for (size_t length = 0; length < 6; length++) { /* too short for a word, or hardly one */
        take(1, 0, length, 0, 1, query);
        (void)find(query, length, &n);
    }
    for (int i = 0; i < 5000; i++)
        query[i] = (msim_note){.start_ms = (uint32_t)i * 100, .pitch = 60};
    const msim_note_match *m = find(query, 5000, &n); /* equal notes */
    assert_true(n == 0 || !m->is_significant);
    for (int i = 0; i < 5000; i++) query[i].start_ms = 0; /* all at once */
    (void)find(query, 5000, &n);
    make_tune(12, LONG, query);
    (void)find(query, LONG, &n);
    for (int i = 0; i < LONG; i++) query[i].pitch = (uint8_t)(60 + i % 4);
    (void)find(query, LONG, &n); /* one figure, again and again */
    free(query);
}

/* ---- Stopping ---- */

/* Asks to stop when it is called for the left-th time; 0: never. */
typedef struct {
    int64_t left, calls;
} stopping;

static int count_calls(void *user) {
    stopping *s = user;
    s->calls++;
    return s->left > 0 && --s->left == 0;
}

/* Wherever a search of query [n] is stopped, it says so, and the finder's next answer is the one
 * that it gives always. */
static void stop_everywhere(const msim_note *query, size_t n, int64_t places) {
    stopping s = {0};
    msim_finder *f;
    const msim_note_match *m;
    msim_error err;
    msim_note short_query[40];
    int64_t n_wanted, n_short;
    msim_finder_options o = msim_finder_options_default();
    o.should_stop = count_calls;
    o.stop_user = &s;
    take(77, 5, 40, -3, 0.9, short_query);
    assert_int_equal(msim_finder_open(notes, &o, &f, NULL), 0);
    (void)find(query, n, &n_wanted);
    const double score = find(short_query, 40, &n_short)->score;
    assert_int_equal(msim_finder_find(f, query, n, &m, NULL), n_wanted);
    const int64_t n_calls = s.calls;
    assert_true(n_calls > 12);
    for (int64_t at = 1; at <= n_calls; at += n_calls / places + 1) {
        s.left = at;
        assert_int_equal(msim_finder_find(f, query, n, &m, &err), -MSIM_E_STOPPED);
        assert_non_null(strstr(err.text, "stopped by the caller"));
        s.left = 0;
        assert_int_equal(msim_finder_find(f, short_query, 40, &m, NULL), n_short);
        assert_true(m->score == score);
    }
    msim_finder_close(f);
}

static void a_search_is_stopped(void **state) {
    (void)state;
    enum { LONG = 40000 };
    static msim_note query[LONG];
    take(9, 0, NOTES, 4, 1.25, query);
    stop_everywhere(query, NOTES, 40);
    make_tune(12, LONG, query);
    for (int i = 0; i < LONG; i++) query[i].pitch = (uint8_t)(60 + i % 4 + i / 100 % 3);
    stop_everywhere(query, LONG, 12);
}

/* A note in thousands of voices, each of which goes on in its own way: each of its words counts. */
static void very_many_voices(void **state) {
    (void)state;
    enum { VOICES = 20000, EACH = 6 };
    msim_note *query = calloc((size_t)VOICES * EACH, sizeof *query);
    int64_t n;
    assert_non_null(query);
    for (uint32_t v = 0; v < VOICES; v++)
        for (uint32_t i = 0; i < EACH; i++)
            query[v * EACH + i] = (msim_note){
                .start_ms = i * 500,
                .duration_ms = 400,
                .voice = (uint16_t)v,
                .pitch = (uint8_t)(i == 0 ? 60 : 20 + v * (i + 3) * (i * 7 + v / 100) % 90)};
    (void)find(query, (size_t)VOICES * EACH, &n);
    free(query);
}

/* A piece in 1,000 versions: some of them are told, and the search ends. */
static void a_thousand_versions(void **state) {
    (void)state;
    enum { VERSIONS = 1000, LENGTH = 80 };
    msim_notes_builder *b;
    msim_notes *many;
    msim_finder *f;
    const msim_note_match *m;
    msim_note tune[LENGTH];
    make_tune(5, LENGTH, tune);
    assert_int_equal(msim_notes_builder_open(in_folder("many"), NULL, &b, NULL), 0);
    for (int v = 0; v < VERSIONS; v++) {
        char name[16];
        snprintf(name, sizeof name, "%04d", v);
        tune[v % LENGTH].pitch ^= 1;
        const msim_piece_notes piece = piece_of(tune, LENGTH);
        assert_int_equal(msim_notes_builder_add(b, name, 4, NULL, &piece, NULL), 0);
    }
    assert_int_equal(msim_notes_builder_finish(b, NULL), 0);
    msim_notes_builder_close(b);
    assert_int_equal(msim_notes_open(in_folder("many"), &many, NULL), 0);
    assert_int_equal(msim_finder_open(many, NULL, &f, NULL), 0);
    const int64_t n = msim_finder_find(f, tune, LENGTH, &m, NULL);
    assert_true(n > 0);
    assert_int_equal(m->n_matched, LENGTH);
    msim_finder_close(f);
    msim_notes_close(many);
    remove(in_folder("many"));
}

/* ---- Parts ---- */

/* The range of a prefix against counting through all keys. */
static void ranges_of_prefixes(void **state) {
    (void)state;
    static ms_lookup lookup;
    const uint64_t n_postings = notes->tail.n_postings;
    uint64_t *keys = malloc(n_postings * sizeof *keys), seed = 4;
    for (uint64_t b = 0; b < notes->tail.n_blocks; b++) {
        const uint8_t *bytes;
        size_t n_bytes, n;
        assert_true(ms_index_block(notes, b, &bytes, &n_bytes, &n));
        assert_true(
            ms_block_keys(bytes, n_bytes, notes->keys[b], n, notes->width, keys + b * MS_BLOCK));
    }
    ms_lookup_init(&lookup, notes);
    for (int round = 0; round < 500; round++) {
        ms_word word = {.key = keys[splitmix(&seed) % n_postings] ^ (splitmix(&seed) % 3 == 0),
                        .length = (uint8_t)(3 + splitmix(&seed) % 6)};
        const uint64_t few = splitmix(&seed) % 300;
        const ms_range r = ms_lookup_word(&lookup, &word, few);
        for (int k = MS_LEAST_INTERVALS; k <= r.intervals; k++) {
            uint64_t first = 0, n = 0;
            for (uint64_t i = 0; i < n_postings; i++) {
                const uint64_t prefix = keys[i] & ms_word_mask(k);
                first += prefix < (word.key & ms_word_mask(k));
                n += prefix == (word.key & ms_word_mask(k));
            }
            if (k < r.intervals) assert_true(n > few);
            if (k < r.intervals) continue;
            assert_true(n <= few || k == word.length);
            assert_int_equal(r.n, n);
            if (n) assert_int_equal(r.first, first);
        }
    }
    assert_false(lookup.is_damaged);
    free(keys);
}

static void relations(void **state) {
    (void)state;
    static const struct {
        ms_agreement a;
        int relation;
    } cases[] = {
        {{.matched = 100, .of_query = 100, .of_target = 100, .in_query = 100, .in_target = 100},
         MSIM_RELATION_SAME_NOTES},
        {{.matched = 100,
          .of_query = 100,
          .of_target = 100,
          .in_query = 100,
          .in_target = 100,
          .residual = 0.5},
         MSIM_RELATION_SAME_PIECE},
        {{.matched = 90, .of_query = 100, .of_target = 1000, .in_query = 100, .in_target = 100},
         MSIM_RELATION_PART_OF},
        {{.matched = 90, .of_query = 1000, .of_target = 100, .in_query = 100, .in_target = 100},
         MSIM_RELATION_CONTAINS},
        {{.matched = 50, .of_query = 150, .of_target = 150, .in_query = 150, .in_target = 150},
         MSIM_RELATION_VERSION},
        {{.matched = 20, .of_query = 150, .of_target = 150, .in_query = 30, .in_target = 30},
         MSIM_RELATION_PASSAGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(ms_relation_of(&cases[i].a), cases[i].relation);
    assert_string_equal(msim_relation_name(MSIM_RELATION_PART_OF), "part of");
    assert_null(msim_relation_name(MSIM_RELATION_COUNT));
}

static void chance(void **state) {
    (void)state;
    const uint64_t all = 7800000;
    assert_true(fabs(ms_chance_floor(20, all) - 18.8) < 0.05);
    assert_true(ms_chance_floor(1, all) == ms_chance_floor(4, all));
    assert_true(ms_chance_floor(100000, all) == ms_chance_floor(400, all));
    assert_true(ms_chance_floor(20, all / 16) < ms_chance_floor(20, all) - 0.5);
    assert_true(fabs(ms_chance_hits(1.15 * 50, 50, 20, all) - 0.1) < 1e-9);
    assert_true(fabs(ms_chance_hits((1.15 + 0.66) * 50, 50, 20, all) - 1e-3) < 1e-9);
    const double least = ms_chance_hits(99 * 50, 50, 20, all); /* just above what stands for less */
    assert_true(least > 1e-300 && least < 1e-290);
    assert_true(ms_chance_hits(200 * 50, 50, 20, all) == 1e-300);
    assert_true(ms_chance_hits(1e9, 50, 20, all) == 1e-300);
    msim_note notes2[2] = {{.start_ms = 100, .pitch = 60}, {.start_ms = 300, .pitch = 10}}, d[2];
    ms_decoy_make(notes2, 2, 2, d);
    assert_int_equal(d[0].start_ms, 200);
    assert_int_equal(d[0].pitch, 70);
    assert_int_equal(d[1].pitch, 120);
    ms_decoy_make(notes2, 2, 0, d);
    assert_int_equal(d[1].pitch, 10);
    ms_decoy_make(notes2, 2, 1, d);
    assert_int_equal(d[1].start_ms, 300);
}

/* ---- Pairs ---- */

typedef struct {
    int64_t a[64], b[64];
    int n;
} seen_pairs;

static int keep_pair(void *user, int64_t a, const msim_note_match *match) {
    seen_pairs *s = user;
    assert_true(s->n < 64);
    s->a[s->n] = a;
    s->b[s->n++] = match->piece;
    return 0;
}

static void pairs_of_versions(void **state) {
    (void)state;
    msim_notes_builder *b;
    msim_notes *some;
    static msim_note tune[NOTES];
    seen_pairs one = {.n = 0}, two = {.n = 0};
    msim_pairs_options o = msim_pairs_options_default();
    o.gives_both = o.threads = 1;
    assert_int_equal(msim_notes_builder_open(in_folder("some"), NULL, &b, NULL), 0);
    add_tunes(b, 0, 30, NOTES);
    take(11, 0, NOTES, 3, 1.1, tune);
    const msim_piece_notes piece = piece_of(tune, NOTES);
    assert_int_equal(msim_notes_builder_add(b, "version", 7, NULL, &piece, NULL), 0);
    assert_int_equal(msim_notes_builder_finish(b, NULL), 0);
    msim_notes_builder_close(b);
    assert_int_equal(msim_notes_open(in_folder("some"), &some, NULL), 0);
    assert_int_equal(msim_notes_pairs(some, &o, keep_pair, &one, NULL), 2);
    o.threads = 3;
    assert_int_equal(msim_notes_pairs(some, &o, keep_pair, &two, NULL), 2);
    assert_memory_equal(&one, &two, sizeof one);
    assert_int_equal(one.a[0], 11);
    assert_int_equal(one.b[0], 30);
    assert_int_equal(one.a[1], 30);
    assert_int_equal(one.b[1], 11);
    msim_notes_close(some);
    remove(in_folder("some"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_has_the_same_notes),
        cmocka_unit_test(excerpts_in_any_key_and_tempo),
        cmocka_unit_test(strangers_are_not_significant),
        cmocka_unit_test(restrictions),
        cmocka_unit_test(answers_depend_on_the_query_alone),
        cmocka_unit_test(queries_of_any_kind_end),
        cmocka_unit_test(a_thousand_versions),
        cmocka_unit_test(a_search_is_stopped),
        cmocka_unit_test(very_many_voices),
        cmocka_unit_test(ranges_of_prefixes),
        cmocka_unit_test(relations),
        cmocka_unit_test(chance),
        cmocka_unit_test(pairs_of_versions),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
