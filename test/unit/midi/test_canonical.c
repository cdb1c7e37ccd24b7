/* Normalised MIDI files: what the original makes of small files and odd ones, room, memory, many
 * tracks. Input and output stand in blocks of exactly their size, so that a sanitizer sees any byte
 * past their ends. docs/CANONICAL.md. */
#include "midisim.h"
#include "base/mem.h"
#include "support/hostile.h"
#include "support/test.h"

static msim_tokenizer *tok;
static msim_error error;

static int set_up(void **state) {
    (void)state;
    return msim_tokenizer_open(NULL, &tok, &error);
}

static int tear_down(void **state) {
    (void)state;
    msim_tokenizer_close(tok);
    return 0;
}

/* The bytes in a block of exactly their size. */
static uint8_t *bytes_of(const char *hex, size_t *n) {
    uint8_t *bytes = exact_block(strspn(hex, "0123456789abcdef") / 2);
    *n = from_hex(hex, bytes);
    return bytes;
}

static int64_t normalize(const uint8_t *file, size_t n, uint8_t *out, size_t cap) {
    error = (msim_error){.code = 0};
    return msim_midi_canonical(tok, file, n, out, cap, &error);
}

static void check_vector(const char *name, const char *hex, const char *expected) {
    size_t n, n_wanted;
    uint8_t *file = bytes_of(hex, &n), *wanted = bytes_of(expected, &n_wanted),
            *out = exact_block(n_wanted);
    int64_t got = normalize(file, n, out, n_wanted);
    if (*expected == '-') {
        if (got != -MSIM_E_FORMAT)
            fail_msg("%s: expected a failure, got %lld", name, (long long)got);
        assert_int_equal(error.code, MSIM_E_FORMAT);
        assert_int_equal(msim_tokenizer_outcome(tok),
                         n < 14 ? MSIM_OUTCOME_NOT_MIDI : MSIM_OUTCOME_BAD_MIDI);
    } else {
        if (got != (int64_t)n_wanted || memcmp(out, wanted, n_wanted) != 0)
            fail_msg("%s: expected %s, got something else (%lld, %s)", name, expected,
                     (long long)got, error.text);
        assert_int_equal(msim_tokenizer_outcome(tok), MSIM_OUTCOME_TOKENS);
        assert_true(n_wanted <= msim_midi_canonical_bound(n));
        /* Any less room is too little, and no byte is written behind it. */
        for (size_t cap = 0; cap < n_wanted; cap += cap < 60 ? 1 : 17) {
            uint8_t *less = exact_block(cap);
            assert_int_equal(normalize(file, n, less, cap), -MSIM_E_LIMIT);
            free(less);
        }
    }
    free(file);
    free(wanted);
    free(out);
}

static void as_the_original(void **state) {
    (void)state;
    FILE *f = fopen("test/data/normalize_vectors.txt", "r");
    static char line[4096];
    int n = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#') continue;
        char *hex = strstr(line, " | "), *expected = hex ? strstr(hex + 3, " | ") : NULL;
        assert_non_null(expected);
        line[strcspn(line, "\n")] = 0;
        *hex = 0;
        check_vector(line, hex + 3, expected + 3);
        n++;
    }
    fclose(f);
    assert_int_equal(n, 119);
}

/* 65,535 empty tracks are the most that a header can say. */
static void many_tracks(void **state) {
    (void)state;
    for (size_t n_tracks = 65535; n_tracks <= 65536; n_tracks++) {
        const size_t n = 14 + 8 * n_tracks, cap = msim_midi_canonical_bound(n);
        uint8_t *file = calloc(n, 1), *out = malloc(cap);
        assert_true(file && out);
        memcpy(file, "MThd\0\0\0\6\0\1\0\1\0\140", 14);
        int64_t got = normalize(file, n, out, cap);
        if (n_tracks > 65535) {
            assert_int_equal(got, -MSIM_E_FORMAT);
        } else {
            assert_int_equal(got, 14 + 12 * (int64_t)n_tracks);
            assert_memory_equal(out + 8, "\0\1\xff\xff\0\140", 6);
        }
        free(file);
        free(out);
    }
}

/* parity: a meta event's length of 10^4300 or more fails where the original prints it, and is
 * nothing elsewhere. */
static void unprintable_length(void **state) {
    (void)state;
    for (int type = 0x50; type <= 0x51; type++) {
        enum { BODY = 2100, N = 22 + 3 + BODY + 4 };
        static uint8_t file[N], out[3 * N + 26];
        memcpy(file, "MThd\0\0\0\6\0\1\0\1\0\140MTrk\0\0", 20);
        file[20] = (N - 22) >> 8;
        file[21] = (N - 22) & 255;
        file[23] = 0xff;
        file[24] = (uint8_t)type;
        memset(file + 25, 0xff, BODY);
        memcpy(file + 25 + BODY, "\1\1\2\3", 4);
        int64_t got = normalize(file, N, out, sizeof out);
        assert_int_equal(got, type == 0x50 ? 22 + 4 + 3 + 4 : -MSIM_E_FORMAT);
    }
}

static void out_of_memory(void **state) {
    (void)state;
    static const uint8_t file[] = "MThd\0\0\0\6\0\1\0\1\0\140MTrk\0\0\0\4\0\x90\x40\x40";
    uint8_t out[128];
    int64_t n, got = -MSIM_E_MEMORY;
    for (n = 1; got == -MSIM_E_MEMORY; n++) {
        msim_tokenizer *fresh;
        assert_int_equal(msim_tokenizer_open(NULL, &fresh, &error), 0);
        ms_mem_fail_at(n);
        got = msim_midi_canonical(fresh, file, sizeof file - 1, out, sizeof out, &error);
        ms_mem_fail_at(0);
        msim_tokenizer_close(fresh);
    }
    assert_true(n > 2);
    assert_int_equal(got, 22 + 4 + 4 + 4);
}

static void limits(void **state) {
    (void)state;
    assert_int_equal(msim_midi_canonical_bound(SIZE_MAX / 2), SIZE_MAX);
    assert_int_equal(msim_midi_canonical(tok, "", (size_t)1 << 31, NULL, 0, &error), -MSIM_E_LIMIT);
    assert_int_equal(msim_midi_canonical(tok, NULL, 0, NULL, 0, NULL), -MSIM_E_LIMIT);
    assert_int_equal(msim_midi_canonical(tok, "MThd", 4, NULL, 0, NULL), -MSIM_E_FORMAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_original),
        cmocka_unit_test(many_tracks),
        cmocka_unit_test(unprintable_length),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
