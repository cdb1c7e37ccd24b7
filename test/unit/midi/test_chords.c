/* The tokens of midisimx: the table of chords for every set of pitch classes, the original's tokens
 * on hand-made files in both orders, cut sequences, windows between chords. docs/TOKENS.md. */
#include "midi/chords/classes.h"
#include "midi/tokens.h"
#include "support/vectors.h"

#define IDS 4096

static msim_error error;
static int32_t ids[IDS];
static int64_t starts[13];

static msim_tokenizer *open_family(int order, int is_unclean, int center_pitch) {
    msim_tokenizer_options o = msim_tokenizer_options_default();
    msim_tokenizer *tok;
    o.family = MSIM_FAMILY_MIDISIMX;
    o.token_order = order;
    o.is_unclean = is_unclean;
    o.center_pitch = center_pitch;
    assert_int_equal(msim_tokenizer_open_family(&o, &tok, &error), 0);
    return tok;
}

/* ---- Sets of pitch classes, as the specification puts them ---- */

/* The classes of a set, ascending: out [12]. Returns how many there are. */
static int classes_of(unsigned set, int *out) {
    int n = 0;
    for (int c = 0; c < 12; c++)
        if (set >> c & 1) out[n++] = c;
    return n;
}

static bool has_neighbours(unsigned set) {
    for (int c = 0; c < 12; c++)
        if ((set >> c & 1) && (set >> (c + 1) % 12 & 1)) return true;
    return false;
}

/* < 0 when a stands before b: by lowest class, highest class, number of classes, then class by
 * class. */
static int compare_listed(const void *x, const void *y) {
    int a[12], b[12];
    const int n = classes_of(*(const unsigned *)x, a), m = classes_of(*(const unsigned *)y, b);
    if (a[0] != b[0]) return a[0] - b[0];
    if (a[n - 1] != b[m - 1]) return a[n - 1] - b[m - 1];
    if (n != m) return n - m;
    for (int i = 0; i < n; i++)
        if (a[i] != b[i]) return a[i] - b[i];
    return 0;
}

/* True when part `a` is to be kept rather than `b`. */
static bool is_better(unsigned a, unsigned b) {
    int x[12], y[12];
    const int n = classes_of(a, x), m = classes_of(b, y);
    if (n != m) return n > m;
    for (int i = 0; i < n; i++)
        if (x[i] != y[i]) return x[i] < y[i];
    return false;
}

static void every_set(void **state) {
    (void)state;
    static unsigned list[4096];
    size_t n = 0;
    for (unsigned set = 1; set < 4096; set++)
        if (!has_neighbours(set)) list[n++] = set;
    assert_int_equal(n, MS_CHORDS_LISTED);
    qsort(list, n, sizeof *list, compare_listed);
    for (unsigned set = 1; set < 4096; set++) {
        unsigned best = 0, place = 0;
        for (unsigned part = set; part; part = (part - 1) & set)
            if (!has_neighbours(part) && (!best || is_better(part, best))) best = part;
        while (list[place] != best) place++;
        const ms_class_set *got = &ms_class_sets()[set];
        assert_int_equal(got->kept, best);
        assert_int_equal(got->index, place);
    }
    const struct {
        unsigned set, index;
    } known[] = {{1, 0},          {1 | 4, 1},  {1 | 8, 2},         {1 | 16, 3},
                 {1 | 4 | 16, 4}, {1 | 32, 5}, {1 | 16 | 128, 16}, {1 << 11, 320}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal(ms_class_sets()[known[i].set].index, known[i].index);
}

/* ---- Hand-made files ---- */

/* Time-first from chord-first: the two tokens of each chord change places. A sequence that a cut
 * ended may lack the second one. */
static void swap_orders(int64_t rc) {
    for (int64_t v = 0; v < rc; v++)
        for (int64_t i = starts[v]; i + 1 < starts[v + 1]; i++)
            if (ids[i] < 128) {
                const int32_t time = ids[i];
                ids[i] = ids[i + 1];
                ids[i + 1] = time;
                i++;
            }
}

static bool is_wide;

static void check_vector(const token_vector *v) {
    char got[700];
    for (int order = 0; order < 2; order++) {
        if (order == MSIM_ORDER_TIME_FIRST && v->max_seq_len < 100) continue;
        msim_tokenizer *tok = open_family(order, v->is_unclean, v->center_pitch);
        ms_tokenizer_force_wide(tok, is_wide);
        uint8_t *copy = exact_copy(v->file, v->n_bytes);
        error = (msim_error){.code = 0};
        int64_t rc = msim_tokenizer_encode(tok, copy, v->n_bytes, v->factor, v->max_seq_len, ids,
                                           IDS, starts, &error);
        free(copy);
        if (order == MSIM_ORDER_TIME_FIRST) swap_orders(rc);
        print_tokens(rc, ids, starts, got, sizeof got);
        if (strcmp(got, v->expected) != 0)
            fail_msg("%s: order %d: expected %s, got %s (%s)", v->name, order, v->expected, got,
                     error.text);
        assert_int_equal(msim_tokenizer_outcome(tok) == MSIM_OUTCOME_TOKENS, rc >= 0);
        if (rc >= 0)
            assert_true((size_t)starts[rc] <=
                        msim_tokenizer_bound(v->n_bytes, v->factor, v->max_seq_len));
        msim_tokenizer_close(tok);
    }
}

static void as_the_package(void **state) {
    (void)state;
    is_wide = false;
    assert_int_equal(each_token_vector("test/data/chords_vectors.txt", 4, check_vector), 366);
    is_wide = true;
    assert_int_equal(each_token_vector("test/data/chords_vectors.txt", 4, check_vector), 366);
}

/* ---- Cuts, outcomes, options ---- */

#define HEAD "4d546864000000060000000101e04d54726b"
/* C4 and C#4, which cannot stand together, and C5; one beat. */
static const char cluster[] = HEAD
    "0000001d00903c4000903d40009048408360803c0000803d000080480000ff2f00";

static void cut(void **state) {
    (void)state;
    uint8_t file[64];
    const size_t n = from_hex(cluster, file);
    msim_tokenizer *tok = open_family(MSIM_ORDER_TIME_FIRST, 0, 0);
    /* The variants -1 and 0 have 4 and 6 ids. */
    const struct {
        int64_t max, low, own;
    } cases[] = {{3072, 4, 6}, {5, 4, 5},  {4, 4, 4},  {1, 1, 1},        {0, 0, 0},
                 {-1, 3, 5},   {-4, 0, 2}, {-9, 0, 0}, {INT64_MIN, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t got =
            msim_tokenizer_encode(tok, file, n, 1, cases[i].max, ids, IDS, starts, &error);
        assert_int_equal(got, 2);
        assert_int_equal(starts[0], 0);
        assert_int_equal(starts[1], cases[i].low);
        assert_int_equal(starts[2] - starts[1], cases[i].own);
        assert_int_equal(msim_tokenizer_full_length(tok), 6);
        assert_int_equal(msim_tokenizer_notes(tok, NULL), 2);
        if (starts[2] == 0) continue;
        assert_int_equal(msim_tokenizer_encode(tok, file, n, 1, cases[i].max, ids,
                                               (size_t)starts[2] - 1, starts, &error),
                         -MSIM_E_LIMIT);
    }
    assert_int_equal(msim_tokenizer_encode_at(tok, file, n, -1, 3072, ids, 4, &error), 4);
    assert_int_equal(msim_tokenizer_full_length(tok), 4);
    assert_int_equal(msim_tokenizer_notes(tok, NULL), 1);
    assert_int_equal(ids[1], 384 + 0); /* 59 and 71 go, being B beside C: 60 stays */
    assert_int_equal(msim_tokenizer_encode_at(tok, file, n, INT32_MAX, -1, ids, 8, &error), 7);
    assert_int_equal(msim_tokenizer_encode_at(tok, file, n, INT32_MIN, 3, ids, 3, &error), 3);
    msim_tokenizer_close(tok);
}

static void check_outcome(msim_tokenizer *tok, const char *hex, int outcome, const char *says) {
    uint8_t file[128];
    const size_t n = from_hex(hex, file);
    assert_int_equal(msim_tokenizer_encode(tok, file, n, 0, 3072, ids, IDS, starts, &error),
                     -MSIM_E_EMPTY);
    assert_int_equal(msim_tokenizer_outcome(tok), outcome);
    assert_non_null(strstr(error.text, says));
}

static void outcomes(void **state) {
    (void)state;
    msim_tokenizer *tok = open_family(MSIM_ORDER_TIME_FIRST, 0, 0);
    check_outcome(tok, HEAD "0000001000c03000903c408360803c0000ff2f00", MSIM_OUTCOME_NO_CLEAN_NOTES,
                  "no clean notes: all 1 notes");
    check_outcome(tok, HEAD "0000000d00992440836089240000ff2f00", MSIM_OUTCOME_DRUMS_ONLY,
                  "all 1 notes are on channel 10");
    check_outcome(tok, HEAD "0000000d00903c4089e200803c0000ff2f00", MSIM_OUTCOME_NO_NOTES,
                  "128 seconds");
    check_outcome(tok, HEAD "0000000400ff2f00", MSIM_OUTCOME_NO_NOTES, "no notes in the file");
    assert_int_equal(msim_skip_reason_of_outcome(MSIM_OUTCOME_NO_CLEAN_NOTES),
                     MSIM_SKIP_NO_CLEAN_NOTES);
    assert_string_equal(msim_skip_reason_name(MSIM_SKIP_NO_CLEAN_NOTES), "no-clean-notes");
    assert_int_equal(msim_skip_is_failure(MSIM_SKIP_NO_CLEAN_NOTES, 0), 0);
    msim_tokenizer_close(tok);
}

static void check_refused(msim_tokenizer_options o, const char *says) {
    msim_tokenizer *tok = (void *)1;
    assert_int_equal(msim_tokenizer_open_family(&o, &tok, &error), -MSIM_E_ARG);
    assert_null(tok);
    assert_non_null(strstr(error.text, says));
}

static void options(void **state) {
    (void)state;
    const size_t size = sizeof(msim_tokenizer_options);
    check_refused((msim_tokenizer_options){.size = size, .family = 2}, "family");
    check_refused((msim_tokenizer_options){.size = size, .family = 1, .token_order = 2},
                  "token_order");
    check_refused((msim_tokenizer_options){.size = size, .family = 1, .center_pitch = 128},
                  "center_pitch");
    check_refused((msim_tokenizer_options){.size = size, .token_order = 1}, "midisimx");
    check_refused((msim_tokenizer_options){.size = size, .is_unclean = 1}, "midisimx");
    check_refused((msim_tokenizer_options){.size = 0}, "size");
    assert_string_equal(msim_family_name(MSIM_FAMILY_MIDISIMX), "midisimx");
    assert_string_equal(msim_token_order_name(MSIM_ORDER_CHORD_FIRST), "chord-first");
    assert_null(msim_family_name(2));
    assert_null(msim_token_order_name(-1));
}

/* ---- Windows ---- */

/* Four chords, half a second apart: of 1, 2, 1 and 1 notes. */
static const char four_chords[] = HEAD
    "0000002c00903c408360803c0000904040009043408360804000008043000090484083608048000090"
    "3c408360803c0000ff2f00";

static void windows(void **state) {
    (void)state;
    uint8_t file[128];
    const size_t n = from_hex(four_chords, file);
    msim_span spans[8];
    msim_tokenizer *tok = open_family(MSIM_ORDER_TIME_FIRST, 0, 0);
    assert_int_equal(msim_tokenizer_encode(tok, file, n, 6, 3072, ids, IDS, starts, &error), 12);
    assert_int_equal(msim_tokenizer_encode_at(tok, file, n, 0, 3072, ids, IDS, &error), 18);
    /* 0 c p d | s c p d p d | s c p d | s c p d: a window of 10 holds the first two chords. */
    assert_int_equal(msim_tokenizer_windows(tok, 10, 10, INT64_MAX, spans, 8, &error), 2);
    assert_int_equal(spans[0].from_token, 0);
    assert_int_equal(spans[0].to_token, 10);
    assert_int_equal(spans[1].from_token, 11); /* behind the step */
    assert_int_equal(spans[1].to_token, 18);
    assert_true(spans[0].to_seconds == spans[1].from_seconds);
    assert_int_equal(ids[spans[1].from_token], 384 + 0);
    assert_int_equal(msim_tokenizer_windows(tok, 4, 1, INT64_MAX, spans, 8, &error), 4);
    assert_int_equal(spans[1].from_token, 5);
    assert_int_equal(spans[1].to_token, 10); /* longer than a window, but one chord */
    assert_int_equal(msim_tokenizer_notes(tok, NULL), 5);
    msim_tokenizer_close(tok);
    tok = open_family(MSIM_ORDER_CHORD_FIRST, 0, 0);
    assert_int_equal(msim_tokenizer_encode_at(tok, file, n, 0, 3072, ids, IDS, &error), 18);
    assert_int_equal(msim_tokenizer_windows(tok, 10, 10, INT64_MAX, spans, 8, &error),
                     -MSIM_E_UNSUPPORTED);
    msim_tokenizer_close(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set), cmocka_unit_test(as_the_package), cmocka_unit_test(cut),
        cmocka_unit_test(outcomes),  cmocka_unit_test(options),        cmocka_unit_test(windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
