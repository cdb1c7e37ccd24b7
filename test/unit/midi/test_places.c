/* Windows in bars: hand-made files with pickups, changes of meter, tempo and none of them; the bars
 * of the note reader, which are counted from the same signatures; what has no bars. */
#include "base/mem.h"
#include "midi/tokens.h"
#include "support/files.h"
#include <math.h>

enum { QUARTER = 96, MOST = 1024, DRIFT_MS = 250 };

static msim_tokenizer *tok;
static msim_error error;
static int32_t ids[1 << 16];
static int64_t starts[2];
static msim_span spans[MOST];
static msim_bar_span bars[MOST];
static unsigned char midi[1 << 14];
static size_t n_midi;

static int set_up(void **state) {
    (void)state;
    if (msim_tokenizer_open(NULL, &tok, &error) < 0) return -1;
    msim_tokenizer_keep_bars(tok, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    msim_tokenizer_close(tok);
    return 0;
}

/* ---- Files of one track ---- */

static unsigned now;

static void put(const unsigned char *bytes, size_t n) {
    memcpy(midi + n_midi, bytes, n);
    n_midi += n;
}

static void put_at(unsigned tick, const unsigned char *bytes, size_t n) {
    const unsigned delta = tick - now;
    put((unsigned char[]){(unsigned char)(0x80 | (delta >> 14 & 127)),
                          (unsigned char)(0x80 | (delta >> 7 & 127)), (unsigned char)(delta & 127)},
        3);
    put(bytes, n);
    now = tick;
}

static void begin(unsigned division) {
    n_midi = now = 0;
    put((const unsigned char[]){'M', 'T', 'h', 'd', 0, 0, 0, 6, 0, 0, 0, 1}, 12);
    put((unsigned char[]){(unsigned char)(division >> 8), (unsigned char)division}, 2);
    put((const unsigned char[]){'M', 'T', 'r', 'k', 0, 0, 0, 0}, 8);
}

static void meter(unsigned tick, unsigned beats, unsigned log_unit) {
    put_at(tick,
           (unsigned char[]){0xff, 0x58, 4, (unsigned char)beats, (unsigned char)log_unit, 24, 8},
           7);
}

static void tempo(unsigned tick, unsigned us) {
    put_at(tick,
           (unsigned char[]){0xff, 0x51, 3, (unsigned char)(us >> 16), (unsigned char)(us >> 8),
                             (unsigned char)us},
           6);
}

static void note(unsigned tick, unsigned length) {
    static unsigned pitch;
    const unsigned char key = (unsigned char)(40 + pitch++ % 40);
    put_at(tick, (unsigned char[]){0x90, key, 80}, 3);
    put_at(tick + length, (unsigned char[]){0x80, key, 0}, 3);
}

/* The bars of all windows of at least 4 tokens, so of one note or two, a window for each note. */
static int64_t cut(int64_t window) {
    int64_t n =
        msim_tokenizer_encode(tok, midi, n_midi, 0, INT64_MAX, ids, 1 << 16, starts, &error);
    if (n >= 0) n = msim_tokenizer_windows(tok, window, 1, INT64_MAX, spans, MOST, &error);
    if (n < 0) fail_msg("%s", error.text);
    for (int64_t i = 0; i < n; i++)
        if (msim_tokenizer_bars(tok, &spans[i], &bars[i], &error) < 0) fail_msg("%s", error.text);
    return n;
}

static int64_t windows(void) {
    put_at(now, (const unsigned char[]){0xff, 0x2f, 0}, 3);
    const size_t n = n_midi - 22;
    midi[20] = (unsigned char)(n >> 8), midi[21] = (unsigned char)n;
    return cut(4);
}

static void check(int64_t i, int64_t from_bar, double from_beat, int64_t to_bar, double to_beat) {
    const msim_bar_span *b = &bars[i];
    if (b->from_bar != from_bar || b->to_bar != to_bar || fabs(b->from_beat - from_beat) > 1e-9 ||
        fabs(b->to_beat - to_beat) > 1e-9)
        fail_msg("window %d: expected %d:%g to %d:%g, got %d:%g to %d:%g", (int)i, (int)from_bar,
                 from_beat, (int)to_bar, to_beat, (int)b->from_bar, b->from_beat, (int)b->to_bar,
                 b->to_beat);
}

/* Notes of a quarter, one after the other, up to a tick. */
static void quarters(unsigned from, unsigned to) {
    for (; from < to; from += QUARTER) note(from, QUARTER - 1);
}

/* ---- Tests ---- */

static void without_a_meter(void **state) {
    (void)state;
    begin(QUARTER);
    quarters(0, 6 * QUARTER);
    assert_int_equal(windows(), 6);
    check(0, 1, 1, 1, 2);
    check(3, 1, 4, 2, 1);
    check(4, 2, 1, 2, 2);
    assert_int_equal(bars[5].to_bar, 2); /* a tick before the third beat, not in its place */
    assert_true(bars[5].to_beat > 2.98 && bars[5].to_beat < 3);
}

/* The first note may come late, and the tempo may not be even. */
static void times_do_not_matter(void **state) {
    (void)state;
    begin(QUARTER);
    meter(0, 3, 2);
    tempo(0, 1234567);
    for (unsigned i = 0; i < 30; i++) {
        tempo(7 * QUARTER + i * QUARTER, 300000 + 7777 * (i * 13 % 30));
        note(7 * QUARTER + i * QUARTER, 50);
    }
    assert_int_equal(windows(), 30);
    for (int64_t i = 0; i < 29; i++)
        check(i, (7 + i) / 3 + 1, (double)((7 + i) % 3 + 1), (8 + i) / 3 + 1,
              (double)((8 + i) % 3 + 1));
}

static void a_pickup(void **state) {
    (void)state;
    begin(QUARTER);
    meter(0, 1, 2);
    quarters(0, QUARTER);
    meter(QUARTER, 3, 2);
    quarters(QUARTER, 7 * QUARTER);
    assert_int_equal(windows(), 7);
    check(0, 1, 1, 2, 1);
    check(1, 2, 1, 2, 2);
    check(3, 2, 3, 3, 1);
}

/* 4/4 to its third beat, then 6/8; the same signature again begins a bar too, as in the notes. */
static void a_change_in_the_middle(void **state) {
    (void)state;
    begin(QUARTER);
    quarters(0, 6 * QUARTER);
    meter(6 * QUARTER, 6, 3);
    quarters(6 * QUARTER, 10 * QUARTER);
    meter(10 * QUARTER, 6, 3);
    quarters(10 * QUARTER, 12 * QUARTER);
    assert_int_equal(windows(), 12);
    check(5, 2, 2, 3, 1);
    check(6, 3, 1, 3, 3);
    check(8, 3, 5, 4, 1);
    check(9, 4, 1, 5, 1);
    check(10, 5, 1, 5, 3);
}

/* Of two signatures of a tick the last one holds; those that say nothing are left out. */
static void signatures_at_one_tick(void **state) {
    (void)state;
    begin(QUARTER);
    meter(0, 5, 2);
    meter(0, 2, 2);
    meter(0, 0, 2);
    meter(0, 3, 8);
    quarters(0, 4 * QUARTER);
    assert_int_equal(windows(), 4);
    check(1, 1, 2, 2, 1);
    check(2, 2, 1, 2, 2);
}

/* Parts of a beat, one that is not in 240ths, and one that would be rounded into the next bar. */
static void parts_of_beats(void **state) {
    (void)state;
    begin(960);
    static const unsigned ticks[] = {0, 320, 480, 640, 960 + 137, 3839, 4000};
    for (size_t i = 0; i < sizeof ticks / sizeof *ticks; i++) note(ticks[i], 10);
    assert_int_equal(windows(), 7);
    check(0, 1, 1, 1, 1 + 1 / 3.0);
    check(1, 1, 1 + 1 / 3.0, 1, 1.5);
    check(2, 1, 1.5, 1, 1 + 2 / 3.0);
    check(3, 1, 1 + 2 / 3.0, 1, 2 + 34 / 240.0);
    check(4, 1, 2 + 34 / 240.0, 1, 5 - 1 / 240.0);
    check(5, 1, 5 - 1 / 240.0, 2, 1 + 40 / 240.0);
}

/* A drum, or the end of a note, before the note of the same step. */
static void only_notes_count(void **state) {
    (void)state;
    begin(QUARTER);
    tempo(0, 500000); /* the second bar begins at 2,000 ms, its step at 1,984 */
    note(0, 4 * QUARTER - 2);
    put_at(4 * QUARTER - 1, (const unsigned char[]){0x99, 40, 80}, 3);
    put_at(4 * QUARTER - 1, (const unsigned char[]){0x89, 40, 0}, 3);
    note(4 * QUARTER, QUARTER);
    assert_int_equal(windows(), 2);
    check(0, 1, 1, 2, 1);
    assert_int_equal(bars[1].from_bar, 2);
    assert_true(bars[1].to_bar == 2 && bars[1].to_beat == 2);
}

/* With a pedal the last note rings on to where the pedal is let go. */
static void a_pedal(void **state) {
    (void)state;
    begin(QUARTER);
    tempo(0, 500000);
    put_at(0, (const unsigned char[]){0xb0, 64, 127}, 3);
    note(0, QUARTER);
    note(QUARTER, QUARTER);
    put_at(6 * QUARTER, (const unsigned char[]){0xb0, 64, 0}, 3);
    note(6 * QUARTER, 10 * QUARTER);
    assert_int_equal(windows(), 3);
    check(1, 1, 2, 2, 3);
    check(2, 2, 3, 5, 1);
}

static void what_has_no_bars(void **state) {
    (void)state;
    begin(0xe728); /* 25 frames of 40 ticks */
    quarters(0, 4 * QUARTER);
    assert_int_equal(windows(), 4);
    check(1, 0, 0, 0, 0);
    begin(QUARTER);
    quarters(0, 4 * QUARTER);
    ms_tokenizer_force_wide(tok, true);
    assert_int_equal(windows(), 4);
    check(1, 0, 0, 0, 0);
    ms_tokenizer_force_wide(tok, false);
    begin(1); /* 32 bars in a tick; more than 32 bits count */
    meter(0, 1, 7);
    tempo(0, 100);
    note(0, 1);
    for (unsigned i = 1; i < 70; i++) note(i * 2097151, 1);
    assert_int_equal(windows(), 70);
    check(1, 67108833, 1, 134217665, 1);
    check(69, 0, 0, 0, 0);
    begin(1); /* later than seconds tell */
    meter(0, 1, 7);
    for (unsigned i = 0; i < 10; i++) note(i * 2097151, 1);
    assert_int_equal(windows(), 10);
    check(1, 67108833, 1, 134217665, 1);
    check(9, 0, 0, 0, 0);
}

static void it_must_be_asked_for(void **state) {
    (void)state;
    begin(QUARTER);
    quarters(0, 4 * QUARTER);
    (void)windows();
    msim_span wrong = spans[0];
    wrong.to_seconds = -1;
    assert_int_equal(msim_tokenizer_bars(tok, &wrong, bars, &error), -MSIM_E_ARG);
    wrong.to_seconds = NAN;
    assert_int_equal(msim_tokenizer_bars(tok, &wrong, bars, &error), -MSIM_E_ARG);
    msim_tokenizer_keep_bars(tok, 0);
    assert_int_equal(msim_tokenizer_bars(tok, &spans[1], bars, &error), 0); /* they are there */
    check(0, 1, 2, 1, 3);
    (void)msim_tokenizer_encode(tok, midi, n_midi, 0, INT64_MAX, ids, 1 << 16, starts, &error);
    assert_int_equal(msim_tokenizer_bars(tok, spans, bars, &error), -MSIM_E_ARG);
    msim_tokenizer_keep_bars(tok, 1);
}

/* The bars of the note reader begin where windows say so; the tokeniser's milliseconds,
 * each rounded from the one before, drift away from a player's. */
static void as_the_notes_have_them(void **state) {
    (void)state;
    static const char *const files[] = {"1003", "lively", "love"};
    msim_note_reader *reader;
    assert_int_equal(msim_note_reader_open(&reader, &error), 0);
    int64_t n_changes = 0;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        char path[200];
        msim_piece_notes p = {.size = sizeof p};
        snprintf(path, sizeof path, "test/data/midi/freedink/%s.mid", files[f]);
        unsigned char *bytes = read_file(path, &n_midi);
        assert_true(n_midi > 0 && n_midi < sizeof midi);
        memcpy(midi, bytes, n_midi);
        free(bytes);
        assert_int_equal(msim_note_reader_read(reader, midi, n_midi, &p, &error), 0);
        const int64_t n = cut(16);
        assert_true(n > 10 && n <= MOST);
        for (int64_t i = 0; i < n; i++) {
            const size_t bar = (size_t)bars[i].from_bar;
            assert_in_range(bar, 1, p.n_bars);
            assert_true(p.bars[bar - 1].start_ms <= spans[i].from_seconds * 1000 + DRIFT_MS);
            assert_true(bar == p.n_bars ||
                        p.bars[bar].start_ms > spans[i].from_seconds * 1000 - DRIFT_MS);
            assert_true(bars[i].from_beat < 1 + p.bars[bar - 1].beats);
            n_changes += i && bars[i].from_bar != bars[i - 1].from_bar;
        }
    }
    msim_note_reader_close(reader);
    assert_true(n_changes > 50);
}

static void no_memory(void **state) {
    (void)state;
    begin(QUARTER);
    quarters(0, 4 * QUARTER);
    (void)windows();
    msim_tokenizer *own;
    assert_int_equal(msim_tokenizer_open(NULL, &own, &error), 0);
    msim_tokenizer_keep_bars(own, 1);
    int rc = -MSIM_E_MEMORY, n;
    for (n = 1; rc == -MSIM_E_MEMORY && n < 100; n++) {
        ms_mem_fail_at(n);
        rc = (int)msim_tokenizer_encode(own, midi, n_midi, 0, INT64_MAX, ids, 1 << 16, starts,
                                        &error);
    }
    ms_mem_fail_at(0);
    msim_tokenizer_close(own);
    assert_true(rc == 1 && n > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(without_a_meter),
                                       cmocka_unit_test(times_do_not_matter),
                                       cmocka_unit_test(a_pickup),
                                       cmocka_unit_test(a_change_in_the_middle),
                                       cmocka_unit_test(signatures_at_one_tick),
                                       cmocka_unit_test(parts_of_beats),
                                       cmocka_unit_test(only_notes_count),
                                       cmocka_unit_test(a_pedal),
                                       cmocka_unit_test(what_has_no_bars),
                                       cmocka_unit_test(it_must_be_asked_for),
                                       cmocka_unit_test(as_the_notes_have_them),
                                       cmocka_unit_test(no_memory)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
