/* Canonical order, streams, words, postings: small cases by hand. */
#include "notes/file/block.h"
#include "notes/file/bytes.h"
#include "notes/file/details.h"
#include "notes/seeds/words.h"
#include "support/pieces.h"
#include "support/test.h"

static ms_arena arena;

static int set_up(void **state) {
    (void)state;
    ms_arena_init(&arena, 0);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    ms_arena_free(&arena);
    return 0;
}

static msim_note note(uint32_t start, int pitch, uint32_t duration, int voice) {
    return (msim_note){.start_ms = start,
                       .duration_ms = duration,
                       .pitch = (uint8_t)pitch,
                       .voice = (uint16_t)voice};
}

/* A chord closes 50 ms after its first note, not after its last; equal pitches are one note with
 * the latest end and the first voice. */
static void canonical_order(void **state) {
    (void)state;
    const msim_note notes[] = {note(100, 60, 50, 1), note(130, 64, 10, 0), note(150, 60, 90, 0),
                               note(151, 67, 10, 0), note(10, 50, 10, 0)};
    ms_canon c;
    assert_int_equal(ms_canon_make(notes, 5, NULL, &arena, &c, NULL), 0);
    assert_int_equal(c.n, 4);
    assert_int_equal(c.n_groups, 3);
    const int pitches[] = {50, 64, 60, 67}, times[] = {10, 100, 100, 151}, groups[] = {0, 1, 1, 2};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(c.pitch[i], pitches[i]);
        assert_int_equal(c.time[i], times[i]);
        assert_int_equal(c.group[i], groups[i]);
    }
    assert_int_equal(c.end[2], 240);
    assert_int_equal(c.voice[2], 0);
    assert_int_equal(c.n_parts, 5);
}

static void check_stream(const ms_streams *s, size_t stream, int kind, size_t n,
                         const uint32_t *expected) {
    assert_true(stream < s->n);
    assert_int_equal(s->kinds[stream], kind);
    assert_int_equal(s->starts[stream + 1] - s->starts[stream], n);
    for (size_t i = 0; i < n; i++) assert_int_equal(s->notes[s->starts[stream] + i], expected[i]);
}

/* The top line leaves out what a held higher note hides, but not what begins as it ends. */
static void streams_of_two_voices(void **state) {
    (void)state;
    const msim_note notes[] = {note(0, 72, 1000, 0), note(0, 48, 500, 1),    note(500, 50, 500, 1),
                               note(950, 52, 50, 1), note(1000, 70, 200, 0), note(1000, 40, 10, 1)};
    ms_canon c;
    ms_streams s;
    assert_int_equal(ms_canon_make(notes, 6, NULL, &arena, &c, NULL), 0);
    assert_int_equal(ms_streams_make(&c, true, &arena, &s, NULL), 0);
    assert_int_equal(c.n, 6); /* 52 at 950, 70 and 40 at 1000 are one group: 70 52 40 */
    assert_int_equal(c.n_groups, 3);
    check_stream(&s, 0, MS_STREAM_ALL, 6, (const uint32_t[]){0, 1, 2, 3, 4, 5});
    check_stream(&s, 1, MS_STREAM_TOP, 2, (const uint32_t[]){0, 3});
    check_stream(&s, 2, MS_STREAM_BOTTOM, 3, (const uint32_t[]){1, 2, 5});
    check_stream(&s, 3, MS_STREAM_VOICE, 2, (const uint32_t[]){0, 3});
    check_stream(&s, 4, MS_STREAM_VOICE, 4, (const uint32_t[]){1, 2, 4, 5});
    check_stream(&s, 5, MS_STREAM_VOICE, 3, (const uint32_t[]){1, 2, 4});
    assert_int_equal(s.n, 6);
}

static uint64_t key_of(const int *intervals, int n) {
    uint64_t key = 0;
    for (int i = 0; i < MS_INTERVALS; i++)
        key = key << MS_INTERVAL_BITS | (uint64_t)(i < n ? intervals[i] + 32 : 0);
    return key;
}

static void words_by_hand(void **state) {
    (void)state;
    const int pitches[] = {60, 62, 59, 127, 60, 61};
    msim_note notes[6];
    ms_canon c;
    ms_streams s;
    ms_word *words;
    size_t n;
    for (int i = 0; i < 6; i++) notes[i] = note(100 * (uint32_t)i, pitches[i], 100, 0);
    assert_int_equal(ms_canon_make(notes, 6, NULL, &arena, &c, NULL), 0);
    assert_int_equal(ms_streams_make(&c, false, &arena, &s, NULL), 0);
    assert_int_equal(ms_words_make(&c, &s, 1, &arena, &words, &n, NULL), 0);
    /* three of all notes; of the top line, which is shorter by what the high note hides, some */
    assert_true(n >= 3);
    assert_true(words[0].key == key_of((const int[]){2, -3, 31, -31, 1}, 5));
    assert_int_equal(words[0].length, 5);
    assert_int_equal(words[0].span_ms, 300);
    assert_true(words[2].key == key_of((const int[]){31, -31, 1}, 3));
    assert_int_equal(words[2].length, 3);
    assert_int_equal(words[2].note, 2);
    assert_true((words[0].key & ms_word_mask(2)) == key_of((const int[]){2, -3}, 2));
}

/* Of a repeated word eight are kept, from all over the piece. */
static void common_words_are_thinned(void **state) {
    (void)state;
    enum { N = 400 };
    static msim_note notes[N];
    ms_canon c;
    ms_streams s;
    ms_word *words;
    size_t n;
    for (int i = 0; i < N; i++) notes[i] = note(100 * (uint32_t)i, 60, 90, 0);
    assert_int_equal(ms_canon_make(notes, N, NULL, &arena, &c, NULL), 0);
    assert_int_equal(ms_streams_make(&c, false, &arena, &s, NULL), 0);
    assert_int_equal(ms_words_make(&c, &s, 1, &arena, &words, &n, NULL), 0);
    assert_int_equal(n, 2 * (N - 3));
    const int64_t kept = ms_words_select(words, n, c.n, &arena, NULL);
    /* those near the end are short and so of other keys */
    assert_in_range(kept, MS_COMMON_MAX, MS_COMMON_MAX + 4);
    assert_true(words[0].note < N / 4);
    assert_true(words[kept - 1].note > N / 2);
    for (int64_t i = 1; i < kept; i++) assert_true(words[i - 1].note < words[i].note);
}

static void density_keeps_neighbours(void **state) {
    (void)state;
    enum { N = 3000, W = 5 };
    static msim_note notes[N];
    ms_canon c;
    ms_streams s;
    ms_word *words;
    size_t n, kept = 0, gap = 0;
    make_tune(5, N, notes);
    assert_int_equal(ms_canon_make(notes, N, NULL, &arena, &c, NULL), 0);
    assert_int_equal(ms_streams_make(&c, false, &arena, &s, NULL), 0);
    assert_int_equal(ms_words_make(&c, &s, W, &arena, &words, &n, NULL), 0);
    for (size_t i = 0; i < N - 3; i++) { /* of all notes */
        gap = words[i].is_sampled ? 0 : gap + 1;
        kept += words[i].is_sampled;
        assert_true(gap < W);
    }
    assert_in_range(kept, (N - 3) / W, (N - 3) * 3 / W); /* 2 / (w + 1) is expected */
}

static void spans_round_trip(void **state) {
    (void)state;
    unsigned last = 0;
    for (uint32_t ms = 0; ms < 20000; ms += 7) {
        const unsigned code = ms_span_code(ms);
        assert_true(code >= last && code < 1 << MS_SPAN_BITS);
        last = code;
        const double ratio = (double)ms_span_of(code) / (ms + 40);
        if (ms < 9000) assert_true(ratio > 0.94 && ratio < 1.06); /* half an eighth of an octave */
    }
    assert_int_equal(ms_span_of(ms_span_code(0)), 40);
}

static void blocks_round_trip(void **state) {
    (void)state;
    static ms_posting postings[MS_BLOCK];
    static uint8_t bytes[MS_BLOCK_MAX_BYTES];
    uint64_t keys[MS_BLOCK], seed = 3;
    for (int round = 0; round < 200; round++) {
        const size_t n = 1 + splitmix(&seed) % MS_BLOCK;
        const unsigned width = 6 + (unsigned)(splitmix(&seed) % 41);
        uint64_t key = splitmix(&seed) >> 20;
        for (size_t i = 0; i < n; i++) {
            if (splitmix(&seed) % 3 == 0) key += splitmix(&seed) >> (20 + splitmix(&seed) % 40);
            postings[i] = (ms_posting){key, splitmix(&seed) >> (64 - width)};
        }
        memset(bytes, 0xaa, sizeof bytes);
        const size_t n_bytes = ms_block_put(postings, n, width, bytes);
        assert_true(n_bytes + 8 <= sizeof bytes);
        assert_true(ms_block_keys(bytes, n_bytes, postings[0].key, n, width, keys));
        for (size_t i = 0; i < n; i++) {
            assert_true(keys[i] == postings[i].key);
            assert_true(ms_block_value(bytes, i, width) == postings[i].value);
        }
        assert_false(ms_block_keys(bytes, n_bytes - 1, postings[0].key, n, width, keys));
    }
}

/* Everything of a piece comes back: times of groups, voices with names, bars of odd lengths. */
static void details_round_trip(void **state) {
    (void)state;
    enum { N = 500, VOICES = 5, BARS = 40 };
    static msim_note notes[N];
    static msim_bar bars[BARS];
    const msim_voice voices[VOICES] = {{.name = "a", .name_bytes = 1},
                                       {.channel = 3, .program = 7, .name = "a", .name_bytes = 1},
                                       {.track = 2, .name = ""},
                                       {.track = 9,
                                        .channel = 15,
                                        .program = 127,
                                        .name = "\xff"
                                                "b",
                                        .name_bytes = 2},
                                       {.track = 65535, .name = "x", .name_bytes = 1}};
    ms_canon c;
    msim_piece_notes piece = {.size = sizeof piece,
                              .notes = notes,
                              .n_notes = N,
                              .voices = voices,
                              .n_voices = VOICES,
                              .bars = bars,
                              .n_bars = BARS},
                     back = {.size = sizeof back};
    uint64_t seed = 8;
    for (int i = 0; i < N; i++)
        notes[i] = note((uint32_t)(splitmix(&seed) % 60000), 30 + (int)(splitmix(&seed) % 60),
                        (uint32_t)(splitmix(&seed) % 3000), (int)(splitmix(&seed) % VOICES));
    for (int i = 0; i < BARS; i++)
        bars[i] = (msim_bar){.start_ms = (uint32_t)(i * 1500 + i % 3),
                             .beats = i < 20 ? 4 : 7,
                             .beat_unit = i < 30 ? 4 : 8};
    assert_int_equal(ms_canon_make(notes, N, NULL, &arena, &c, NULL), 0);
    uint8_t *bytes = calloc(1, ms_details_bound(&c, &piece) + 8);
    const size_t n_bytes = ms_details_put(&c, &piece, bytes);
    assert_true(n_bytes <= ms_details_bound(&c, &piece));
    assert_int_equal(ms_details_get(bytes, n_bytes, c.pitch, c.n, &arena, &back, NULL), 0);
    assert_int_equal(back.n_notes, c.n);
    for (size_t i = 0; i < c.n; i++) {
        assert_int_equal(back.notes[i].start_ms, c.time[i]);
        assert_int_equal(back.notes[i].pitch, c.pitch[i]);
        assert_int_equal(back.notes[i].voice, c.voice[i]);
        const double was = c.end[i] - c.time[i];
        assert_true(back.notes[i].duration_ms >= was * 0.85 - 10);
        assert_true(back.notes[i].duration_ms <= was * 1.18 + 10);
    }
    assert_int_equal(back.n_voices, VOICES);
    for (int v = 0; v < VOICES; v++) {
        assert_int_equal(back.voices[v].track, voices[v].track);
        assert_int_equal(back.voices[v].channel, voices[v].channel);
        assert_int_equal(back.voices[v].program, voices[v].program);
        assert_int_equal(back.voices[v].name_bytes, voices[v].name_bytes);
        assert_memory_equal(back.voices[v].name, voices[v].name, voices[v].name_bytes);
    }
    assert_int_equal(back.n_bars, BARS);
    assert_memory_equal(back.bars, bars, sizeof bars);
    for (size_t cut = 0; cut < n_bytes; cut++) /* every shorter one is refused */
        assert_int_equal(ms_details_get(bytes, cut, c.pitch, c.n, &arena, &back, NULL),
                         -MSIM_E_FORMAT);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(canonical_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(streams_of_two_voices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(words_by_hand, set_up, tear_down),
        cmocka_unit_test_setup_teardown(common_words_are_thinned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(density_keeps_neighbours, set_up, tear_down),
        cmocka_unit_test_setup_teardown(spans_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(blocks_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(details_round_trip, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
