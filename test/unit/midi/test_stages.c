/* Each stage of docs/TOKENS.md on its own, on the worked examples that define it. Files are written
 * in hexadecimal; in most of them the division is 400, so that a tick is a millisecond at the tempo
 * that holds when none is given. */
#include "midi/score.h"
#include "midi/tokens.h"
#include "support/hostile.h"
#include "support/test.h"
#include <math.h>

static ms_arena arena;
static ms_queues queues;
static ms_smf smf;
static ms_score score;
static int outcome;
static msim_error error;

static int set_up(void **state) {
    (void)state;
    ms_arena_init(&arena, 1 << 20);
    ms_queues_init(&queues);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    ms_arena_free(&arena);
    return 0;
}

/* A file of up to three tracks, run through the stages up to `stage`. */
static void run(int stage, unsigned division, const char *track1, const char *track2,
                const char *track3) {
    uint8_t file[4096] = "MThd\0\0\0\6\0\1\0\1";
    const char *tracks[3] = {track1, track2, track3};
    size_t n = 14;
    file[12] = (uint8_t)(division >> 8);
    file[13] = (uint8_t)division;
    for (int t = 0; t < 3 && tracks[t]; t++) {
        size_t length = from_hex(tracks[t], file + n + 8);
        memcpy(file + n, "MTrk\0\0", 6);
        file[n + 6] = (uint8_t)(length >> 8);
        file[n + 7] = (uint8_t)length;
        n += 8 + length;
    }
    ms_arena_reset(&arena);
    memset(&score, 0, sizeof score);
    assert_int_equal(ms_smf_read(file, n, &arena, &smf, &outcome, &error), MSIM_OK);
    if (stage >= 3)
        assert_int_equal(ms_score_pair_tracks(&smf, &queues, &arena, &score, &error), MSIM_OK);
    if (stage >= 4)
        assert_int_equal(ms_score_merge(&score, smf.last_tick, &arena, &error), MSIM_OK);
    if (stage >= 5)
        assert_int_equal(ms_tempo_convert(&score, division, NULL, NULL, &arena, &error), MSIM_OK);
    if (stage >= 6)
        assert_int_equal(ms_score_pair_stream(&score, &queues, &arena, &error), MSIM_OK);
    if (stage >= 7) ms_score_mask(&score);
    if (stage >= 8) assert_int_equal(ms_score_sustain(&score, &arena, &error), MSIM_OK);
    if (stage >= 9) ms_clean_drop(&score);
    if (stage >= 10) ms_clean_order(&score);
    if (stage >= 11) ms_clean_piano(&score);
    if (stage >= 13)
        assert_int_equal(ms_clean_quantise(&score, ms_clean_origin(&score), &arena, &error),
                         MSIM_OK);
    if (stage >= 14) ms_clean_doubles(&score);
    if (stage >= 15) ms_clean_trim(&score);
}

static void check_event(const ms_event *e, int kind, uint64_t time, int channel, int x) {
    assert_int_equal(e->kind, kind);
    assert_int_equal(e->time, time);
    if (kind != MS_OTHER) assert_int_equal(e->channel, channel);
    if (kind != MS_OTHER) assert_int_equal(e->x, x);
}

/* {start, end, channel, pitch} of the notes, in order. */
static void check_notes(const int expected[][4], size_t n) {
    assert_int_equal(score.n_notes, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(score.notes[i].start, expected[i][0]);
        assert_int_equal(score.ends[ms_note_place(&score.notes[i])], expected[i][1]);
        assert_int_equal(ms_note_channel(&score.notes[i]), expected[i][2]);
        assert_int_equal(ms_note_pitch(&score.notes[i]), expected[i][3]);
    }
}

/* {start, duration, pitch} of the notes in units, in order. */
static void check_units(const int expected[][3], size_t n) {
    assert_int_equal(score.n_notes, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(score.units[i].start, expected[i][0]);
        assert_int_equal(score.units[i].duration, expected[i][1]);
        assert_int_equal(score.units[i].pitch, expected[i][2]);
    }
}

#define CHECK_NOTES(...) \
    check_notes((const int[][4]){__VA_ARGS__}, sizeof((const int[][4]){__VA_ARGS__}) / 16)
#define CHECK_UNITS(...) \
    check_units((const int[][3]){__VA_ARGS__}, sizeof((const int[][3]){__VA_ARGS__}) / 12)

static void stage_1_container(void **state) {
    (void)state;
    run(2, 0xe728, "00c005 00ff2f00", "", "00c105");
    assert_int_equal(smf.division, 0xe728); /* an SMPTE division is only a large number */
    assert_int_equal(smf.n_tracks, 3);
    assert_int_equal(smf.track_ends[0], 1);
    assert_int_equal(smf.track_ends[1], 1);
    assert_int_equal(smf.track_ends[2], 2);
}

static void stage_2_events(void **state) {
    (void)state;
    run(2, 480, "00903c40 83603c00 0aff2f00", NULL, NULL);
    assert_int_equal(smf.n_events, 3);
    assert_int_equal(smf.n_notes, 1);
    check_event(&smf.events[0], MS_NOTE_ON, 0, 0, 60);
    check_event(&smf.events[1], MS_NOTE_OFF, 480, 0, 60);
    check_event(&smf.events[2], MS_OTHER, 490, 0, 0);
    assert_int_equal(smf.events[0].at, 22);
    assert_int_equal(smf.events[1].at, 26);
}

/* Every kind, with running status kept across meta and system events. */
static void stage_2_kinds(void **state) {
    (void)state;
    run(2, 480,
        "00b10740 00ff5103010203 00a23344 00ff5804aabbcc00 00c399 00ff54050102030405 00f0020000 "
        "0055",
        NULL, NULL);
    assert_int_equal(smf.n_events, 8);
    check_event(&smf.events[0], MS_CONTROL, 0, 1, 7);
    assert_int_equal(smf.events[0].y, 0x40);
    assert_int_equal(smf.events[1].kind, MS_TEMPO);
    assert_int_equal(ms_event_tempo(&smf.events[1]), 0x010203);
    assert_int_equal(smf.events[2].kind, MS_PAIR);
    assert_int_equal(smf.events[2].x, 0x33);
    assert_int_equal(smf.events[2].y, 0x44);
    assert_int_equal(smf.events[3].kind, MS_PAIR);
    assert_int_equal(smf.events[3].x, 0xbb);
    assert_int_equal(smf.events[3].y, 0xcc);
    check_event(&smf.events[4], MS_PATCH, 0, 3, 0x99);
    assert_int_equal(smf.events[5].kind, MS_PAIR);
    assert_int_equal(smf.events[5].x, 2);
    assert_int_equal(smf.events[5].y, 3);
    assert_int_equal(smf.events[6].kind, MS_OTHER);
    check_event(&smf.events[7], MS_PATCH, 0, 3, 0x55); /* running status */
    /* A data byte without a status empties its chunk alone. */
    run(2, 480, "00c005 00ff2f00", "0040", "00c105 00c206");
    assert_int_equal(smf.n_events, 3);
    assert_int_equal(smf.track_ends[1], 1);
}

static void stage_3_pairs_inside_a_track(void **state) {
    (void)state;
    run(3, 480, "00903c40 0a4040 0a3c40 14804000 0a3c00 05904040 05ff2f00", NULL, NULL);
    assert_int_equal(score.n_events, 9);
    check_event(&score.events[0], MS_NOTE_ON, 0, 0, 60);
    check_event(&score.events[1], MS_NOTE_ON, 10, 0, 64);
    check_event(&score.events[2], MS_NOTE_ON, 20, 0, 60);
    check_event(&score.events[3], MS_NOTE_OFF, 40, 0, 64);
    check_event(&score.events[4], MS_NOTE_OFF, 50, 0, 60);
    check_event(&score.events[5], MS_NOTE_ON, 55, 0, 64);
    check_event(&score.events[6], MS_OTHER, 60, 0, 0);
    check_event(&score.events[7], MS_NOTE_OFF, 60, 0, 60); /* 60 was used before 64 */
    check_event(&score.events[8], MS_NOTE_OFF, 60, 0, 64);
    for (unsigned k = 0; k < MS_QUEUE_KEYS; k++) assert_int_equal(queues.held[k], 0);
    /* A note-off without a partner leaves nothing; pitch byte 188 of channel 0 is the key of
     * channel 1, pitch 60. */
    run(3, 480, "00803c00 0090bc40 0a813c00", NULL, NULL);
    assert_int_equal(score.n_events, 2);
    check_event(&score.events[0], MS_NOTE_ON, 0, 0, 188);
    check_event(&score.events[1], MS_NOTE_OFF, 10, 1, 60);
}

static void stage_4_one_stream(void **state) {
    (void)state;
    run(4, 480, "00903c40 87403c00", "8360903c40 003c00", NULL);
    assert_int_equal(score.n_events, 4);
    check_event(&score.events[0], MS_NOTE_ON, 0, 0, 60);
    check_event(&score.events[1], MS_NOTE_ON, 480, 0, 60);
    check_event(&score.events[2], MS_NOTE_OFF, 480, 0, 60);
    check_event(&score.events[3], MS_NOTE_OFF, 960, 0, 60);
}

/* Long streams are sorted by digits: same answer as a plain stable sort. */
static void stage_4_long_streams(void **state) {
    (void)state;
    static ms_event stream[3000], expected[3000];
    uint64_t random = 1;
    for (unsigned bits = 0; bits <= 48; bits += 3) {
        const size_t n = 3000;
        uint64_t last = 0;
        for (size_t i = 0; i < n; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            stream[i] = (ms_event){.time = bits ? random >> (64 - bits) : 0, .at = (uint32_t)i};
            if (stream[i].time > last) last = stream[i].time;
            size_t k = i;
            for (; k > 0 && expected[k - 1].time > stream[i].time; k--)
                expected[k] = expected[k - 1];
            expected[k] = stream[i];
        }
        ms_arena_reset(&arena);
        score = (ms_score){.events = stream, .n_events = n};
        assert_int_equal(ms_score_merge(&score, last, &arena, &error), MSIM_OK);
        for (size_t i = 0; i < n; i++) assert_int_equal(score.events[i].at, expected[i].at);
    }
}

static void stage_5_milliseconds(void **state) {
    (void)state;
    run(5, 160, "01b00101 010101 010101 010101", NULL, NULL);
    for (unsigned i = 0; i < 4; i++) assert_int_equal(score.events[i].time, 2 * (i + 1));
    run(5, 160, "01b00101 01ff5103061a80 010101 010101", NULL, NULL);
    assert_int_equal(score.n_events, 3);
    assert_int_equal(score.events[0].time, 2);
    assert_int_equal(score.events[1].time, 7);
    assert_int_equal(score.events[2].time, 9);
    run(6, 480, "8170903c40 8170ff51030f4240 81703c00", NULL, NULL);
    CHECK_NOTES({200, 900, 0, 60});
    /* Two tempos at one tick: the later track's holds. Tempo 0: time stands still. */
    run(5, 400, "00ff5103030d40 83 10b00101", "00ff5103000000", NULL);
    assert_int_equal(score.events[0].time, 0);
    run(5, 400, "00ff5103000000 8310b00101", "00ff5103030d40", NULL);
    assert_int_equal(score.events[0].time, 200);
}

static void stage_6_pairs_over_all_tracks(void **state) {
    (void)state;
    run(6, 480, "00903c40 87403c00", "8360903c40 003c00", NULL);
    CHECK_NOTES({0, 400, 0, 60}, {400, 800, 0, 60});
    assert_int_equal(ms_note_place(&score.notes[0]), 0);
    assert_int_equal(ms_note_place(&score.notes[1]), 1);
}

static void stage_7_mask(void **state) {
    (void)state;
    run(7, 400, "00c0c8 0090bc40 0a80bc00 00b040c8", NULL, NULL);
    CHECK_NOTES({0, 10, 0, 60});
    check_event(&score.events[0], MS_PATCH, 0, 0, 72);
    assert_int_equal(score.events[1].y, 200); /* a controller keeps what it had */
}

static void stage_8_sustain(void **state) {
    (void)state;
    run(8, 400, "00b0407f 00903c40 822c803c00 8458b04000", NULL, NULL);
    CHECK_NOTES({0, 900, 0, 60});
    /* down at the very end of the note */
    run(8, 400, "00903c40 822c803c00 00b0407f 8458b04000", NULL, NULL);
    CHECK_NOTES({0, 300, 0, 60});
    /* up and down at 900: joined */
    run(8, 400, "00b0407f 00903c40 822c803c00 8458b04000 00407f 84584000", NULL, NULL);
    CHECK_NOTES({0, 1500, 0, 60});
    /* another channel's pedal */
    run(8, 400, "00b1407f 00903c40 822c803c00 8458b14000", NULL, NULL);
    CHECK_NOTES({0, 300, 0, 60});
    /* never up: the drum's end */
    run(8, 400, "00b0407f 00903c40 00992340 822c803c00 8458892300", NULL, NULL);
    CHECK_NOTES({0, 900, 0, 60}, {0, 900, 9, 35});
    run(8, 400, "00b0403f 00903c40 822c803c00 8458b04000", NULL, NULL); /* 63 is not down */
    CHECK_NOTES({0, 300, 0, 60});
}

static void stage_9_dropped_notes(void **state) {
    (void)state;
    run(9, 400, "00b0013c 00913c40 003b40 823c3c00 003b00", NULL, NULL);
    CHECK_NOTES({0, 316, 1, 59});
    run(9, 400, "00b0013c 00914040 003c40 823c4000 003c00", NULL, NULL);
    CHECK_NOTES({0, 316, 1, 64}, {0, 316, 1, 60});
    /* text in between */
    run(9, 400, "00b0013c 00ff010161 00913c40 003b40 823c3c00 003b00", NULL, NULL);
    CHECK_NOTES({0, 316, 1, 60}, {0, 316, 1, 59});
    /* a tempo is gone by now */
    run(9, 400, "00b0013c 00ff5103061a80 00913c40 003b40 823c3c00 003b00", NULL, NULL);
    CHECK_NOTES({0, 316, 1, 59});
    run(9, 400, "00b0013c 01913c40 823c3c00", NULL, NULL); /* a millisecond before */
    CHECK_NOTES({1, 317, 1, 60});
    run(9, 400, "00913c40 003c40 823c3c00 003c00", NULL, NULL); /* what the rule was meant for */
    CHECK_NOTES({0, 316, 1, 60});
    /* Patches act on all notes of their millisecond. */
    run(9, 400, "00993c40 00903c40 00c07f 0a803c00 00893c00", NULL, NULL);
    CHECK_NOTES({0, 10, 0, 60}, {0, 10, 9, 60});
    assert_int_equal(score.notes[0].key >> MS_NOTE_PATCH_SHIFT & 255, 127);
    assert_int_equal(score.notes[1].key >> MS_NOTE_PATCH_SHIFT & 255, 128);
}

static void stage_10_and_11_order_and_piano(void **state) {
    (void)state;
    /* Patch 40 on channel 0 for 300 ms, patch 5 on channel 1 for 900 ms. */
    run(10, 400, "00c028 00c105 00903c40 00913c40 822c803c00 8458813c00", NULL, NULL);
    CHECK_NOTES({0, 900, 1, 60}, {0, 300, 0, 60});
    run(11, 400, "00c028 00c105 00903c40 00913c40 822c803c00 8458813c00", NULL, NULL);
    CHECK_NOTES({0, 900, 1, 60});
    /* Equal patches: the note that ended first. Drums have patch 128 and leave in stage 11. */
    run(10, 400, "00993c40 00913c40 00903c40 822c803c00 8458813c00 00893c00", NULL, NULL);
    CHECK_NOTES({0, 300, 0, 60}, {0, 900, 1, 60}, {0, 900, 9, 60});
    run(11, 400, "00993d40 00913c40 00903c40 822c803c00 8458813c00 00893d00", NULL, NULL);
    CHECK_NOTES({0, 300, 0, 60});
}

static void stage_12_shift(void **state) {
    (void)state;
    run(12, 400, "00992340 8310892300 00903c40 817a903e40 003c00 0a3e00", NULL, NULL);
    assert_int_equal(ms_clean_origin(&score), 400);
    run(13, 400, "00992340 8310892300 00903c40 817a903e40 003c00 0a3e00", NULL, NULL);
    CHECK_UNITS({0, 7, 60}, {7, 1, 62}); /* 250 ms are 7 units */
}

static void stage_13_quantise(void **state) {
    (void)state;
    /* Starts 0, 31, 32; durations 31, 63, 64; pitch 0 becomes 1. */
    run(15, 400, "00900040 1f3d40 000000 013e40 3e3d00 023e00", NULL, NULL);
    CHECK_UNITS({0, 1, 61}, {0, 1, 1}, {1, 2, 62});
    /* Inside a unit: pitch downwards, whatever the millisecond. What is new shows it in stage
     * 15. */
    run(15, 400, "00903c40 0a4040 0a4340 8310 3c00 004000 004300", NULL, NULL);
    CHECK_UNITS({0, 12, 67}, {0, 12, 64}, {0, 13, 60});
}

/* From 2^53 milliseconds on a time is divided as a double: it may round up to the next unit. */
static void stage_13_long_times(void **state) {
    (void)state;
    uint64_t ends[1] = {UINT64_C(0x7fffffffffffffff)};
    ms_note notes[1] = {{.start = UINT64_C(0x7fffffffffffffff)}};
    ms_arena_reset(&arena);
    score = (ms_score){.notes = notes, .ends = ends, .n_notes = 1};
    assert_int_equal(ms_clean_quantise(&score, 0, &arena, &error), MSIM_OK);
    assert_true(score.units[0].start == UINT64_C(1) << 58); /* and not one less */
}

static void stage_14_doubles(void **state) {
    (void)state;
    /* 60 at 0 for 10 ms and at 20 for 640 ms: the first stays. */
    run(14, 400, "00903c40 0a3c00 0a3c40 85003c00", NULL, NULL);
    CHECK_UNITS({0, 1, 60});
}

static void stage_15_trim(void **state) {
    (void)state;
    ms_unit_note notes[5] = {{0, 10, 60}, {10, 10, 67}, {20, 10, 67}, {20, 10, 64}, {20, 10, 60}};
    score = (ms_score){.units = notes, .n_notes = 5};
    ms_clean_trim(&score);
    CHECK_UNITS({0, 10, 60}, {10, 9, 67}, {20, 10, 60}, {20, 10, 67}, {20, 10, 64});
    ms_unit_note close[3] = {{0, 1, 60}, {1, 5, 60}, {3, 5, 60}};
    score = (ms_score){.units = close, .n_notes = 3};
    ms_clean_trim(&score);
    CHECK_UNITS({0, 1, 60}, {1, 1, 60}, {3, 5, 60});
    /* Every pitch in its turn, then all of them at once, downwards, then the upper half. */
    static ms_unit_note many[127 + 127 + 64];
    for (unsigned i = 0; i < 127; i++) many[i] = (ms_unit_note){i, 1, (uint8_t)(i * 5 % 127 + 1)};
    for (unsigned i = 0; i < 127; i++) many[127 + i] = (ms_unit_note){200, 9, (uint8_t)(127 - i)};
    for (unsigned i = 0; i < 64; i++) many[254 + i] = (ms_unit_note){204, 9, (uint8_t)(127 - i)};
    score = (ms_score){.units = many, .n_notes = 127 + 127 + 64};
    ms_clean_trim(&score);
    for (unsigned i = 0; i < 127; i++) {
        assert_int_equal(many[127 + i].pitch, i * 5 % 127 + 1);
        assert_int_equal(many[127 + i].duration, many[127 + i].pitch >= 64 ? 3 : 9);
    }
    for (unsigned i = 1; i < 64; i++) /* 51 inverts 5 modulo 127 */
        assert_true((many[253 + i].pitch - 1) * 51 % 127 < (many[254 + i].pitch - 1) * 51 % 127);
}

static void stage_16_and_17_tokens(void **state) {
    (void)state;
    ms_unit_note notes[3] = {{0, 27, 67}, {0, 300, 60}, {200, 5, 64}};
    ms_token_note out[3];
    int32_t ids[12];
    score = (ms_score){.units = notes, .n_notes = 3};
    assert_int_equal(ms_tokens_steps(&score, out), 8);
    const ms_token_note expected[3] = {{0, 27, 67}, {0, 127, 60}, {127, 5, 64}};
    assert_memory_equal(out, expected, sizeof out);
    const int32_t whole[8] = {0, 155, 323, 255, 316, 127, 133, 320};
    for (int64_t length = 0; length <= 8; length++) { /* a cut may fall inside a note, and writes
                                                       * nothing behind it */
        memset(ids, 0x7f, sizeof ids);
        ms_tokens_write(out, 3, 0, length, ids);
        assert_memory_equal(ids, whole, (size_t)length * sizeof *ids);
        assert_int_equal(ids[length], 0x7f7f7f7f);
    }
    ms_tokens_write(out, 3, 100, 8, ids);
    assert_int_equal(ids[2], 256 + 127);
    ms_tokens_write(out, 3, INT32_MIN, 8, ids);
    assert_int_equal(ids[2], 256 + 1);
    assert_int_equal(ms_tokens_cut(10, 3), 3);
    assert_int_equal(ms_tokens_cut(10, INT64_MAX), 10);
    assert_int_equal(ms_tokens_cut(10, -3), 7);
    assert_int_equal(ms_tokens_cut(10, -10), 0);
    assert_int_equal(ms_tokens_cut(10, INT64_MIN), 0);
}

static void large_chords(void **state) {
    (void)state;
    /* Tempo 0 puts 6,000 notes at one time, in the worst order for insertion: pitches upwards again
     * and again. */
    enum { N = 6000 };
    static ms_event stream[2 * N];
    ms_arena_reset(&arena);
    for (unsigned i = 0; i < N; i++) {
        stream[2 * i] =
            (ms_event){.kind = MS_NOTE_ON, .channel = i & 7, .x = (uint8_t)(i / 8 % 128)};
        stream[2 * i + 1] = stream[2 * i];
        stream[2 * i + 1].kind = MS_NOTE_OFF;
    }
    score = (ms_score){.events = stream, .n_events = 2 * N, .n_notes = N};
    assert_int_equal(ms_score_pair_stream(&score, &queues, &arena, &error), MSIM_OK);
    ms_score_mask(&score);
    ms_clean_drop(&score);
    ms_clean_order(&score);
    assert_int_equal(score.n_notes, N);
    for (unsigned i = 1; i < N; i++) assert_true(score.notes[i - 1].key < score.notes[i].key);
    ms_clean_piano(&score);
    assert_int_equal(score.n_notes, 128);

    /* The same for one unit of 32 ms. */
    static ms_note notes[N];
    static uint64_t ends[N];
    for (unsigned i = 0; i < N; i++) {
        ends[i] = i + 40;
        notes[i] = (ms_note){.start = i % 2,
                             .key = (uint64_t)(255 - (1 + i % 127)) << MS_NOTE_PITCH_SHIFT |
                                    (uint64_t)i << MS_NOTE_PLACE_SHIFT};
    }
    score = (ms_score){.notes = notes, .ends = ends, .n_notes = N};
    assert_int_equal(ms_clean_quantise(&score, 0, &arena, &error), MSIM_OK);
    ms_clean_doubles(&score);
    assert_int_equal(score.n_notes, 127);
    ms_clean_trim(&score);
    for (unsigned i = 0; i < 127; i++) {
        assert_int_equal(score.units[i].pitch, 127 - i);
        assert_int_equal(score.units[i].duration, (126 - i + 40 - (126 - i) % 2) / 32);
    }
}

/* Chords of every size that is sorted in a way of its own, their notes in any order, behind and
 * before others. */
static void chords_of_all_sizes(void **state) {
    (void)state;
    uint64_t random = 1;
    for (unsigned size = 1; size <= 60; size++) {
        ms_event stream[2 * (60 + 60 + 1)];
        size_t n = 0, n_notes = 0;
        for (unsigned chord = 0; chord < 2; chord++)
            for (unsigned i = 0; i < (chord ? size : 61 - size); i++, n_notes++) {
                random = random * 6364136223846793005u + 1442695040888963407u;
                stream[n++] = (ms_event){.time = chord,
                                         .kind = MS_NOTE_ON,
                                         .channel = (uint8_t)(random >> 60),
                                         .x = random >> 50 & 15};
            }
        for (size_t i = 0; i < n_notes; i++) {
            stream[n] = stream[i];
            stream[n].time = 2;
            stream[n++].kind = MS_NOTE_OFF;
        }
        ms_arena_reset(&arena);
        score = (ms_score){.events = stream, .n_events = n, .n_notes = n_notes};
        assert_int_equal(ms_score_pair_stream(&score, &queues, &arena, &error), MSIM_OK);
        uint64_t sum = 0;
        for (size_t i = 0; i < n_notes; i++) sum += score.notes[i].key;
        score.is_ordered = false;
        ms_clean_order(&score);
        for (size_t i = 0; i < n_notes; i++) {
            assert_int_equal(score.notes[i].start, i >= 61 - size);
            if (i && score.notes[i].start == score.notes[i - 1].start)
                assert_true(score.notes[i - 1].key < score.notes[i].key);
            sum -= score.notes[i].key;
        }
        assert_int_equal(sum, 0);
    }
}

static void wide_integers(void **state) {
    (void)state;
    ms_wide ticks = {.n_limbs = 17}, table;
    ms_arena_reset(&arena);
    assert_int_equal(ms_wide_init(&table, &ticks, 1100, &arena, &error), MSIM_OK);
    assert_int_equal(ms_wide_step(&table, 0.5), 0); /* ties go to the even number */
    assert_int_equal(ms_wide_step(&table, 1.5), 1);
    assert_true(ms_wide_gap(&table, 0, 1) == 2.0);
    assert_int_equal(ms_wide_step(&table, 0.25), 1);
    uint64_t rank = 1, before;
    for (int e = 1; e < 1024; e++) { /* 2 + 2 + 4 + ... = 2^e */
        before = rank;
        rank = ms_wide_step(&table, ldexp(1.0, e == 1 ? 1 : e));
        assert_true(ms_wide_gap(&table, before, rank) == ldexp(1.0, e));
    }
    assert_true(ms_wide_gap(&table, 0, rank) == INFINITY); /* 2^1024 */
    /* Rounding of a difference: 2^53 + 1 is a tie, and one more bit far below decides it. */
    assert_int_equal(ms_wide_init(&table, &ticks, 8, &arena, &error), MSIM_OK);
    rank = ms_wide_step(&table, 1.0);
    ms_wide_step(&table, 0x1p+100);
    rank = ms_wide_step(&table, 0x1p+47);
    assert_true(ms_wide_gap(&table, 0, rank) > 0x1p100);  /* ... + 2^47 + 1: up */
    assert_true(ms_wide_gap(&table, 1, rank) == 0x1p100); /* ... + 2^47: a tie, to even */
}

static void unprintable_numbers(void **state) {
    (void)state;
    /* 10^4300 and the number before it in groups of 7 bits, by hand. */
    static uint8_t digits[2100], number[2110];
    size_t n = 1;
    digits[0] = 1;
    for (int i = 0; i < 4300; i++) {
        unsigned carry = 0;
        for (size_t k = 0; k < n; k++) {
            carry += digits[k] * 10u;
            digits[k] = carry & 127;
            carry >>= 7;
        }
        if (carry) digits[n++] = (uint8_t)carry;
    }
    number[0] = 0x80; /* a leading zero group changes nothing */
    for (size_t k = 0; k < n; k++) number[n - k] = digits[k] | (k ? 0x80 : 0);
    assert_true(ms_wide_number_unprintable(number, number + n + 1));
    assert_false(ms_wide_number_unprintable(number, number + n)); /* cut off: counts as 0 */
    size_t k = 0;
    while (digits[k] == 0) digits[k++] = 127;
    digits[k]--;
    for (k = 0; k < n; k++) number[n - k] = digits[k] | (k ? 0x80 : 0);
    assert_false(ms_wide_number_unprintable(number, number + n + 1));
    memset(number, 0xff, 2041); /* more bits */
    number[2041] = 0x7f;
    assert_true(ms_wide_number_unprintable(number, number + 2042));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stage_1_container),      cmocka_unit_test(stage_2_events),
        cmocka_unit_test(stage_2_kinds),          cmocka_unit_test(stage_3_pairs_inside_a_track),
        cmocka_unit_test(stage_4_one_stream),     cmocka_unit_test(stage_4_long_streams),
        cmocka_unit_test(stage_5_milliseconds),   cmocka_unit_test(stage_6_pairs_over_all_tracks),
        cmocka_unit_test(stage_7_mask),           cmocka_unit_test(stage_8_sustain),
        cmocka_unit_test(stage_9_dropped_notes),  cmocka_unit_test(stage_10_and_11_order_and_piano),
        cmocka_unit_test(stage_12_shift),         cmocka_unit_test(stage_13_quantise),
        cmocka_unit_test(stage_13_long_times),

        cmocka_unit_test(stage_14_doubles),       cmocka_unit_test(stage_15_trim),
        cmocka_unit_test(stage_16_and_17_tokens), cmocka_unit_test(large_chords),
        cmocka_unit_test(chords_of_all_sizes),    cmocka_unit_test(wide_integers),
        cmocka_unit_test(unprintable_numbers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
