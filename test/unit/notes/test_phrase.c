/* Typed phrases, notes of MIDI files, and notes as MIDI files. */
#include "midisim.h"
#include "support/hostile.h"
#include "support/random.h"
#include "support/test.h"

static void check_phrase(const char *text, int n, const int *pitches, const int *starts) {
    msim_note notes[16];
    assert_int_equal(msim_notes_parse(text, notes, 16, NULL), n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(notes[i].pitch, pitches[i]);
        assert_int_equal(notes[i].start_ms, starts[i]);
    }
}

static void phrases(void **state) {
    (void)state;
    check_phrase("G4 G4 A4 G4 C5 B4:2", 6, (const int[]){67, 67, 69, 67, 72, 71},
                 (const int[]){0, 500, 1000, 1500, 2000, 2500});
    check_phrase("60,62:2, 64 | 65", 4, (const int[]){60, 62, 64, 65},
                 (const int[]){0, 500, 1500, 2500});
    check_phrase("C4+E4+G4:1/2 R:1 Bb3:0.5 f#", 5, (const int[]){60, 64, 67, 58, 54},
                 (const int[]){0, 0, 0, 750, 1000});
    check_phrase("B C d", 3, (const int[]){59, 60, 62}, (const int[]){0, 500, 1000});
    check_phrase("C-1 G9 Cb4 b#3", 4, (const int[]){0, 127, 59, 60},
                 (const int[]){0, 500, 1000, 1500});
    msim_note one;
    assert_int_equal(msim_notes_parse("C4:3 D4 E4", &one, 1, NULL), 3);
    assert_int_equal(one.duration_ms, 1500);
}

static void phrases_that_are_none(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "H4",     "C4:",  "C4:0",   "C4:x",    "128", "C11",  "G#9",     "C4+",
        "C4 +E4", "C4E4", "60 -61", "C4:1001", ":2",  "Cb-1", "C4:1/0x", "99999999999999999999"};
    msim_note notes[8];
    msim_error err;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err.text[0] = 0;
        assert_int_equal(msim_notes_parse(wrong[i], notes, 8, &err), -MSIM_E_ARG);
        assert_non_null(strstr(err.text, "character"));
    }
    assert_int_equal(msim_notes_parse(" | ", notes, 8, NULL), -MSIM_E_EMPTY);
    assert_int_equal(msim_notes_parse("R R:2", notes, 8, NULL), -MSIM_E_EMPTY);
}

/* ---- MIDI files ---- */

static msim_note_reader *reader;

static int open_reader(void **state) {
    (void)state;
    return msim_note_reader_open(&reader, NULL);
}

static int close_reader(void **state) {
    (void)state;
    msim_note_reader_close(reader);
    return 0;
}

static msim_piece_notes read_hex(const char *hex) {
    unsigned char bytes[1000];
    msim_piece_notes p = {.size = sizeof p};
    const size_t n = from_hex(hex, bytes);
    unsigned char *exact = exact_copy(bytes, n);
    assert_int_equal(msim_note_reader_read(reader, exact, n, &p, NULL), 0);
    free(exact);
    return p;
}

/* Two tracks: tempo and meters in the first; the tempo before it is 120 beats a minute. */
static void times_bars_and_voices(void **state) {
    (void)state;
    const msim_piece_notes p =
        read_hex("4d546864 00000006 0001 0003 0060"     /* 96 ticks a quarter */
                 "4d54726b 0000001c 00 ff5804 03021808" /* 3/4 */
                 "60 ff5103 0f4240"                     /* at 96: a second a quarter */
                 "8140 ff5804 04031808 00 ff2f00"       /* at 288: 4/8 */
                 "4d54726b 00000029 00 ff0305 426173736f 00 c320 00 933c40 60 833c00"
                 "00 974040 60 874000 00 932440 8140 832400 00 ff2f00"
                 "4d54726b 00000010 00 992440 60 892400 60 904c40 00 ff2f00");
    assert_int_equal(p.n_notes, 4); /* without the drum */
    assert_int_equal(p.n_voices, 3);
    assert_int_equal(p.voices[0].track, 1);
    assert_int_equal(p.voices[0].channel, 3);
    assert_int_equal(p.voices[0].program, 32);
    assert_int_equal(p.voices[1].channel, 7);
    assert_int_equal(p.voices[2].track, 2);
    assert_memory_equal(p.voices[1].name, "Basso", 5);
    assert_int_equal(p.voices[2].name_bytes, 0);
    const int starts[] = {0, 500, 1500, 1500}, pitches[] = {0x3c, 0x40, 0x4c, 0x24},
              lengths[] = {500, 1000, 0, 2000}, voices[] = {0, 1, 2, 0};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(p.notes[i].start_ms, starts[i]);
        assert_int_equal(p.notes[i].pitch, pitches[i]);
        assert_int_equal(p.notes[i].duration_ms, lengths[i]);
        assert_int_equal(p.notes[i].voice, voices[i]);
    }
    assert_int_equal(p.n_bars, 1); /* the next one begins behind the last onset */
    assert_int_equal(p.bars[0].beats, 3);
    assert_int_equal(p.bars[0].beat_unit, 4);
}

static void what_has_no_notes(void **state) {
    (void)state;
    unsigned char bytes[200];
    msim_piece_notes p = {.size = sizeof p};
    size_t n = from_hex("4d546864 00000006 0000 0001 0060 4d54726b 00000004 00 ff2f00", bytes);
    assert_int_equal(msim_note_reader_read(reader, bytes, n, &p, NULL), -MSIM_E_EMPTY);
    assert_int_equal(msim_note_reader_outcome(reader), MSIM_OUTCOME_NO_NOTES);
    n = from_hex("4d546864 00000006 0000 0001 0060 4d54726b 00000008 00 992440 00 ff2f00", bytes);
    assert_int_equal(msim_note_reader_read(reader, bytes, n, &p, NULL), -MSIM_E_EMPTY);
    assert_int_equal(msim_note_reader_outcome(reader), MSIM_OUTCOME_DRUMS_ONLY);
    assert_int_equal(msim_note_reader_read(reader, "no", 2, &p, NULL), -MSIM_E_FORMAT);
    assert_int_equal(msim_note_reader_read(reader, NULL, 0, &p, NULL), -MSIM_E_FORMAT);
}

static void drums_on_request(void **state) {
    (void)state;
    unsigned char bytes[200];
    msim_piece_notes p = {.size = sizeof p};
    const size_t n = from_hex(
        "4d546864 00000006 0000 0001 0060 4d54726b 0000000c 00 992440 60 90 3c40 00 ff2f00", bytes);
    assert_int_equal(msim_note_reader_read(reader, bytes, n, &p, NULL), 0);
    assert_int_equal(p.n_notes, 1);
    assert_int_equal(p.notes[0].pitch, 60);
    msim_note_reader_keep_drums(reader, 1);
    assert_int_equal(msim_note_reader_read(reader, bytes, n, &p, NULL), 0);
    assert_int_equal(p.n_notes, 2);
    assert_int_equal(p.notes[0].pitch, 36);
    assert_int_equal(p.voices[p.notes[0].voice].channel, 9);
    assert_int_equal(p.voices[p.notes[1].voice].channel, 0);
    msim_note_reader_keep_drums(reader, 0);
    assert_int_equal(msim_note_reader_read(reader, bytes, n, &p, NULL), 0);
    assert_int_equal(p.n_notes, 1);
}

/* Notes that were written come back the same. */
static void written_and_read(void **state) {
    (void)state;
    enum { N = 300, VOICES = 4 };
    static msim_note notes[N];
    const msim_voice voices[VOICES] = {
        {.channel = 0, .program = 5, .name = "a b", .name_bytes = 3},
        {.channel = 1, .name = ""},
        {.channel = 9, .name = "moved off the drums", .name_bytes = 19},
        {.channel = 15, .program = 127, .name = ""}};
    msim_piece_notes piece = {
        .size = sizeof piece, .notes = notes, .n_notes = N, .voices = voices, .n_voices = VOICES};
    msim_piece_notes back = {.size = sizeof back};
    uint64_t seed = 6;
    uint32_t now = 700;
    for (int i = 0; i < N; i++) {
        now += 1 + (uint32_t)(splitmix(&seed) % 400);
        notes[i] = (msim_note){.start_ms = now,
                               .duration_ms = 1,
                               .voice = (uint16_t)(splitmix(&seed) % VOICES),
                               .pitch = (uint8_t)(splitmix(&seed) % 128),
                               .velocity = (uint8_t)(1 + splitmix(&seed) % 127)};
    }
    for (int keeps = 0; keeps < 2; keeps++) {
        const int64_t n = msim_midi_write_notes(&piece, keeps, NULL, 0, NULL);
        assert_true(n > 0);
        unsigned char *bytes = exact_block((size_t)n);
        assert_int_equal(msim_midi_write_notes(&piece, keeps, bytes, (size_t)n, NULL), n);
        assert_int_equal(msim_note_reader_read(reader, bytes, (size_t)n, &back, NULL), 0);
        assert_int_equal(back.n_notes, N);
        for (int i = 0; i < N; i++) {
            assert_int_equal(back.notes[i].start_ms,
                             notes[i].start_ms - (keeps ? 0 : notes[0].start_ms));
            assert_int_equal(back.notes[i].pitch, notes[i].pitch);
            assert_int_equal(back.notes[i].velocity, notes[i].velocity);
            assert_int_equal(back.notes[i].voice, notes[i].voice);
        }
        assert_memory_equal(back.voices[0].name, "a b", 3);
        free(bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(phrases),
        cmocka_unit_test(phrases_that_are_none),
        cmocka_unit_test(times_bars_and_voices),
        cmocka_unit_test(what_has_no_notes),
        cmocka_unit_test(drums_on_request),
        cmocka_unit_test(written_and_read),
    };
    return cmocka_run_group_tests(tests, open_reader, close_reader);
}
