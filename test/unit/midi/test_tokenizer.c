/* The tokeniser through its public functions: the original's tokens on hand-made files, damaged and
 * hostile bytes, the two parameters, errors, memory. Every file stands in a block of exactly its
 * size, so that a sanitizer sees any read past its end. docs/TOKENS.md. */
#include "midi/tokens.h"
#include "support/vectors.h"

#define IDS 4096

static msim_tokenizer *tok;
static msim_error error;
static int32_t ids[IDS];
static int64_t starts[13];

static int set_up(void **state) {
    (void)state;
    return msim_tokenizer_open(NULL, &tok, &error);
}

static int tear_down(void **state) {
    (void)state;
    msim_tokenizer_close(tok);
    return 0;
}

/* Encode a copy of exactly n bytes. */
static int64_t encode_copy(const uint8_t *file, size_t n, int factor, int64_t max_seq_len) {
    uint8_t *copy = exact_copy(file, n);
    error = (msim_error){.code = 0};
    int64_t rc = msim_tokenizer_encode(tok, copy, n, factor, max_seq_len, ids, IDS, starts, &error);
    free(copy);
    return rc;
}

static void check_vector(const token_vector *v) {
    char got[600];
    int64_t rc = encode_copy(v->file, v->n_bytes, v->factor, v->max_seq_len);
    print_tokens(rc, ids, starts, got, sizeof got);
    if (strcmp(got, v->expected) != 0)
        fail_msg("%s: expected %s, got %s (%s)", v->name, v->expected, got, error.text);
    if (rc >= 0) {
        assert_int_equal(msim_tokenizer_outcome(tok), MSIM_OUTCOME_TOKENS);
        assert_int_equal(rc, msim_tokenizer_variants(v->factor));
        assert_true((size_t)starts[rc] <=
                    msim_tokenizer_bound(v->n_bytes, v->factor, v->max_seq_len));
    } else {
        assert_int_not_equal(msim_tokenizer_outcome(tok), MSIM_OUTCOME_TOKENS);
        assert_int_equal(error.code, -rc);
        assert_true(strlen(error.text) > 0);
    }
}

static void as_the_original(void **state) {
    (void)state;
    assert_int_equal(each_token_vector("test/data/tokenizer_vectors.txt", 2, check_vector), 172);
}

static void as_the_original_with_wide_times(void **state) {
    (void)state;
    ms_tokenizer_force_wide(tok, true);
    assert_int_equal(each_token_vector("test/data/tokenizer_vectors.txt", 2, check_vector), 172);
    ms_tokenizer_force_wide(tok, false);
}

/* ---- Damaged bytes ---- */

static uint64_t random_state;

static uint32_t next_random(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

/* Both ways of keeping time agree. */
static void check_both(const uint8_t *file, size_t n) {
    static int32_t narrow[IDS];
    int64_t rc = encode_copy(file, n, 0, IDS);
    int outcome = msim_tokenizer_outcome(tok);
    int64_t n_ids = rc >= 0 ? starts[rc] : 0;
    memcpy(narrow, ids, sizeof narrow);
    ms_tokenizer_force_wide(tok, true);
    int64_t wide = encode_copy(file, n, 0, IDS);
    ms_tokenizer_force_wide(tok, false);
    assert_int_equal(rc, wide);
    assert_int_equal(outcome, msim_tokenizer_outcome(tok));
    if (rc < 0) return;
    assert_int_equal(starts[rc], n_ids);
    assert_memory_equal(ids, narrow, (size_t)n_ids * sizeof *ids);
    for (int64_t i = 0; i < n_ids; i++) assert_in_range(ids[i], 0, 383);
}

static void damage(const token_vector *v) {
    uint8_t file[512];
    for (size_t n = 0; n <= v->n_bytes; n++) check_both(v->file, n);
    for (int i = 0; i < 40 && v->n_bytes > 14; i++) {
        memcpy(file, v->file, v->n_bytes);
        for (int k = 0; k < 3; k++)
            file[12 + next_random() % (v->n_bytes - 12)] = (uint8_t)next_random();
        check_both(file, v->n_bytes);
    }
}

static void cut_and_changed_bytes(void **state) {
    (void)state;
    random_state = 1;
    each_token_vector("test/data/tokenizer_vectors.txt", 2, damage);
}

/* ---- Random music ---- */

static size_t put_number(uint8_t *out, uint64_t value) {
    size_t n = 1;
    for (uint64_t v = value; v >>= 7;) n++;
    for (size_t i = n; i-- > 0; value >>= 7)
        out[i] = (uint8_t)((value & 127) | (i + 1 < n ? 128 : 0));
    return n;
}

/* A file of n_tracks tracks with n_events events each: notes on few keys, pedals, patches,
 * tempos. */
static size_t compose(uint8_t *file, int n_tracks, int n_events, unsigned longest_delta_bits) {
    memcpy(file, "MThd\0\0\0\6\0\1\0\1\1\x90", 14);
    size_t n = 14;
    for (int t = 0; t < n_tracks; t++) {
        size_t begin = n;
        memcpy(file + n, "MTrk", 4);
        n += 8;
        for (int i = 0; i < n_events; i++) {
            uint32_t what = next_random() % 16, channel = next_random() % 3,
                     x = 60 + next_random() % 5;
            uint64_t delta = next_random() % 64;
            if (next_random() % 50 == 0)
                delta = ((uint64_t)next_random() << 31 | next_random()) >>
                        (62 - longest_delta_bits);
            n += put_number(file + n, delta);
            if (what == 0) {
                const uint8_t tempo[6] = {
                    0xff, 0x51, 3, (uint8_t)(next_random() % 16), (uint8_t)next_random(), 7};
                memcpy(file + n, tempo, 6);
                n += 6;
                continue;
            }
            uint8_t status = what < 8 ? 0x90 : what < 13 ? 0x80 : what < 15 ? 0xb0 : 0xa0;
            file[n++] = (uint8_t)(status | channel);
            file[n++] = (uint8_t)(status == 0xb0 ? 64 : status == 0xa0 ? channel : x);
            file[n++] = (uint8_t)(status == 0xa0 ? x : next_random() % 128);
        }
        for (int k = 0; k < 4; k++)
            file[begin + 4 + (size_t)k] = (uint8_t)((n - begin - 8) >> (24 - 8 * k));
    }
    return n;
}

static void narrow_and_wide_times_agree(void **state) {
    (void)state;
    static uint8_t file[64 << 10];
    random_state = 2;
    for (int i = 0; i < 600; i++) {
        size_t n = compose(file, 1 + i % 4, 5 + (int)(next_random() % 200), 1 + (unsigned)i % 47);
        check_both(file, n);
    }
}

/* ---- Parameters and errors ---- */

/* One note of pitch 60, 12 units long. */
static const uint8_t one_note[] =
    "MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\x0d\0\x90\x3c\x40\x83\x60\x80\x3c\0\0\xff\x2f";
#define ONE_NOTE_BYTES (sizeof one_note) /* the last byte is the string's own zero */

static void transposed(void **state) {
    (void)state;
    for (int by = -130; by <= 130; by++) {
        int pitch = 60 + by;
        assert_int_equal(
            msim_tokenizer_encode_at(tok, one_note, ONE_NOTE_BYTES, by, 3072, ids, 3, &error), 3);
        assert_int_equal(ids[2], 256 + (pitch < 1 ? 1 : pitch > 127 ? 127 : pitch));
    }
    assert_int_equal(
        msim_tokenizer_encode_at(tok, one_note, ONE_NOTE_BYTES, INT32_MIN, 3072, ids, 3, &error),
        3);
    assert_int_equal(ids[2], 257);
    assert_int_equal(
        msim_tokenizer_encode_at(tok, one_note, ONE_NOTE_BYTES, INT32_MAX, -1, ids, 3, &error), 2);
    assert_int_equal(
        msim_tokenizer_encode(tok, one_note, ONE_NOTE_BYTES, 6, 3072, ids, IDS, starts, &error),
        12);
    for (int v = 0; v < 12; v++) {
        assert_int_equal(starts[v], 3 * v);
        assert_int_equal(ids[3 * v + 2], 316 - 6 + v);
    }
    assert_int_equal(starts[12], 36);
    assert_int_equal(msim_tokenizer_variants(0), 1);
    assert_int_equal(msim_tokenizer_variants(-5), 1);
    assert_int_equal(msim_tokenizer_variants(2), 4);
    assert_int_equal(msim_tokenizer_variants(99), 12);
}

static void cut(void **state) {
    (void)state;
    const struct {
        int64_t max, length;
    } cases[] = {{3072, 3}, {INT64_MAX, 3}, {3, 3},  {2, 2},        {0, 0},
                 {-1, 2},   {-3, 0},        {-4, 0}, {INT64_MIN, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(encode_copy(one_note, ONE_NOTE_BYTES, 2, cases[i].max), 4);
        assert_int_equal(starts[4], 4 * cases[i].length);
        assert_int_equal(msim_tokenizer_full_length(tok), 3);
        assert_true(msim_tokenizer_bound(ONE_NOTE_BYTES, 2, cases[i].max) >= (size_t)starts[4]);
    }
    assert_int_equal(
        msim_tokenizer_encode(tok, one_note, ONE_NOTE_BYTES, 0, 0, NULL, 0, starts, &error), 1);
    assert_int_equal(msim_tokenizer_bound(SIZE_MAX, 6, INT64_MAX), SIZE_MAX);
}

static void room_for_ids(void **state) {
    (void)state;
    memset(ids, 0x55, sizeof ids);
    memset(starts, 0x55, sizeof starts);
    for (size_t cap = 0; cap < 12; cap++) {
        assert_int_equal(
            msim_tokenizer_encode(tok, one_note, ONE_NOTE_BYTES, 2, 3072, ids, cap, starts, &error),
            -MSIM_E_LIMIT);
        assert_int_equal(ids[0], 0x55555555); /* a failure writes nothing */
        assert_int_equal(starts[0], 0x5555555555555555);
    }
    assert_string_equal(error.text, "token ids: expected room for 12, got 11");
    assert_int_equal(
        msim_tokenizer_encode(tok, one_note, ONE_NOTE_BYTES, 2, 3072, ids, 12, starts, &error), 4);
    assert_int_equal(msim_tokenizer_encode_at(tok, one_note, ONE_NOTE_BYTES, 0, 3072, ids, 2, NULL),
                     -MSIM_E_LIMIT);
}

static void check_failure(const char *hex, int64_t rc, int outcome, const char *text) {
    uint8_t file[512];
    size_t n = from_hex(hex, file);
    assert_int_equal(encode_copy(file, n, 0, 3072), rc);
    assert_int_equal(msim_tokenizer_outcome(tok), outcome);
    assert_string_equal(error.text, text);
}

#define HEAD "4d546864000000060000000101e0"

static void outcomes(void **state) {
    (void)state;
    const int64_t format = -MSIM_E_FORMAT, empty = -MSIM_E_EMPTY;
    check_failure("", format, MSIM_OUTCOME_NOT_MIDI, "not MIDI: this is an empty file");
    check_failure("4d546864000000070000000101e000", format, MSIM_OUTCOME_NOT_MIDI,
                  "not MIDI: byte 4: expected a header length of 6, got 7");
    check_failure(HEAD, format, MSIM_OUTCOME_NOT_MIDI,
                  "not MIDI: byte 14: expected a track, got the end of the file");
    check_failure(HEAD "4d54726b00000009", format, MSIM_OUTCOME_NOT_MIDI,
                  "not MIDI: byte 14: expected a track, got one longer than the file");
    check_failure("4d54686400000006000000010000"
                  "4d54726b00000000",
                  format, MSIM_OUTCOME_BAD_MIDI,
                  "bad MIDI: byte 12: expected 1..65535 ticks per quarter, got 0");
    check_failure(HEAD "4d54726b00000003"
                       "00903c"
                       "ff",
                  format, MSIM_OUTCOME_BAD_MIDI,
                  "bad MIDI: byte 25: the chunk ends where a data byte should stand");
    check_failure(HEAD "4d54726b00000002"
                       "8181",
                  format, MSIM_OUTCOME_BAD_MIDI,
                  "bad MIDI: byte 24: the chunk ends where an event should stand");
    check_failure(HEAD "4d54726b00000002"
                       "00ff",
                  format, MSIM_OUTCOME_BAD_MIDI,
                  "bad MIDI: byte 24: the chunk ends where a meta type should stand");
    check_failure(HEAD "4d54726b00000006"
                       "00ff51030102",
                  format, MSIM_OUTCOME_BAD_MIDI,
                  "bad MIDI: byte 26: the chunk ends where 3 bytes of tempo should stand");
    check_failure(HEAD "4d54726b00000006"
                       "00ff54050102",
                  format, MSIM_OUTCOME_BAD_MIDI,
                  "bad MIDI: byte 26: the chunk ends where 5 bytes of SMPTE offset should stand");
    check_failure(HEAD "4d54726b00000005"
                       "00ff590201",
                  format, MSIM_OUTCOME_BAD_MIDI,
                  "bad MIDI: byte 26: the chunk ends where 2 bytes of key signature should stand");
    check_failure(
        HEAD "4d54726b00000005"
             "00ff000201",
        format, MSIM_OUTCOME_BAD_MIDI,
        "bad MIDI: byte 26: the chunk ends where 2 bytes of sequence number should stand");
    check_failure(HEAD "4d54726b00000003"
                       "00f201",
                  format, MSIM_OUTCOME_BAD_MIDI,
                  "bad MIDI: byte 25: the chunk ends where a data byte should stand");
    check_failure(HEAD "4d54726b00000000", empty, MSIM_OUTCOME_NO_NOTES, "no notes in the file");
    check_failure(HEAD "4d54726b00000004"
                       "00993c40",
                  empty, MSIM_OUTCOME_DRUMS_ONLY,
                  "drums only: all 1 notes are on channel 10, the drums");
    /* The only note is dropped for the controller before it. */
    check_failure(HEAD "4d54726b00000008"
                       "00b0013c"
                       "00913c40",
                  empty, MSIM_OUTCOME_NO_NOTES, "no notes in the file");
    /* the handle is none the worse */
    assert_int_equal(encode_copy(one_note, ONE_NOTE_BYTES, 0, 3072), 1);
}

/* A length of 10^4300 and more fails the events whose length the original prints. */
static void lengths_beyond_print(void **state) {
    (void)state;
    static uint8_t file[4096];
    const uint8_t types[] = {0x00, 0x51, 0x54, 0x58, 0x59, 0x01, 0x7f};
    for (size_t i = 0; i < sizeof types; i++) {
        size_t n = 14 + 8;
        memcpy(file, one_note, n);
        memcpy(file + n, "\0\x90\x3c\x40\x83\x60\x80\x3c\0\0\xff", 11);
        n += 11;
        file[n++] = types[i];
        memset(file + n, 0xff, 2041);
        n += 2041;
        file[n++] = 0x7f;
        memset(file + n, 1, 5);
        n += 5;
        file[20] = (uint8_t)((n - 22) >> 8);
        file[21] = (uint8_t)(n - 22);
        int64_t rc = encode_copy(file, n, 0, 3072);
        assert_int_equal(rc, i < 5 ? -MSIM_E_FORMAT : 1);
        if (i < 5)
            assert_string_equal(error.text,
                                "bad MIDI: byte 34: a length has more than 4300 digits");
    }
}

/* ---- Memory ---- */

static void out_of_memory(void **state) {
    (void)state;
    static uint8_t file[512 << 10];
    static int32_t many[512 << 10];
    random_state = 3;
    size_t n = compose(file, 3, 20000, 10);
    for (int wide = 0; wide < 2; wide++) {
        int64_t failures = 0, rc = -MSIM_E_MEMORY;
        while (rc == -MSIM_E_MEMORY) {
            msim_tokenizer *fresh;
            ms_mem_fail_at(failures + 1);
            rc = msim_tokenizer_open(NULL, &fresh, &error);
            if (rc < 0) assert_null(fresh);
            if (rc >= 0) {
                ms_tokenizer_force_wide(fresh, wide);
                rc = msim_tokenizer_encode(fresh, file, n, 0, INT64_MAX, many, 512 << 10, starts,
                                           &error);
                ms_mem_fail_at(0);
                if (rc < 0) { /* the handle still works */
                    assert_int_equal(error.code, MSIM_E_MEMORY);
                    assert_int_equal(msim_tokenizer_encode(fresh, file, n, 0, INT64_MAX, many,
                                                           512 << 10, starts, NULL),
                                     1);
                }
                msim_tokenizer_close(fresh);
            }
            failures += rc < 0;
        }
        ms_mem_fail_at(0);
        assert_int_equal(rc, 1);
        assert_true(failures >= 3);
    }
    msim_tokenizer_close(NULL);
}

static void steady_stream_allocates_nothing(void **state) {
    (void)state;
    static uint8_t file[256 << 10];
    static int32_t many[256 << 10];
    random_state = 4;
    size_t n = compose(file, 4, 8000, 10);
    for (int i = 0; i < 8; i++)
        assert_int_equal(
            msim_tokenizer_encode(tok, file, n, 0, INT64_MAX, many, 256 << 10, starts, &error), 1);
    int64_t before = ms_mem_count();
    for (int i = 0; i < 8; i++)
        assert_int_equal(
            msim_tokenizer_encode(tok, file, n, 0, INT64_MAX, many, 256 << 10, starts, &error), 1);
    assert_int_equal(ms_mem_count(), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_original),
        cmocka_unit_test(as_the_original_with_wide_times),
        cmocka_unit_test(cut_and_changed_bytes),
        cmocka_unit_test(narrow_and_wide_times_agree),
        cmocka_unit_test(transposed),
        cmocka_unit_test(cut),
        cmocka_unit_test(room_for_ids),
        cmocka_unit_test(outcomes),
        cmocka_unit_test(lengths_beyond_print),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(steady_stream_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
