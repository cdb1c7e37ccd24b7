/* The original's listing: five recorded searches printed byte for byte (test/golden/listings.json),
 * and Python's spelling of scores. */
#include "search/print/listing.c"
#include "support/test.h"
#include <cjson/cJSON.h>

static char *read_text(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = malloc(1 << 20);
    *n = fread(text, 1, 1 << 20, f);
    fclose(f);
    return text;
}

typedef struct {
    const cJSON *names;
    char text[65536];
    size_t n, cap;
} sink;

static int put(void *arg, const char *bytes, size_t n) {
    sink *s = arg;
    if (s->n + n > s->cap) return 7;
    memcpy(s->text + s->n, bytes, n);
    s->n += n;
    return 0;
}

static const char *name_of(void *arg, int64_t row, size_t *n) {
    const char *name = cJSON_GetArrayItem(((sink *)arg)->names, (int)row)->valuestring;
    *n = strlen(name);
    return name;
}

static void recorded_listings(void **state) {
    (void)state;
    size_t n = 0;
    char *text = read_text("test/golden/listings.json", &n);
    assert_non_null(text);
    cJSON *json = cJSON_ParseWithLength(text, n), *query;
    assert_non_null(json);
    int n_queries = 0;
    cJSON_ArrayForEach(query, cJSON_GetObjectItem(json, "queries")) {
        const cJSON *row_list = cJSON_GetObjectItem(query, "rows"),
                    *sim_list = cJSON_GetObjectItem(query, "sims");
        int64_t rows[192];
        float sims[192];
        ms_listing_entry entries[192];
        assert_int_equal(cJSON_GetArraySize(row_list), 192);
        for (int i = 0; i < 192; i++) {
            rows[i] = (int64_t)cJSON_GetArrayItem(row_list, i)->valuedouble;
            sims[i] = (float)cJSON_GetArrayItem(sim_list, i)->valuedouble;
        }
        int64_t n_entries = ms_listing_merge(rows, sims, 12, 16, false, entries);
        static sink s;
        s = (sink){.names = cJSON_GetObjectItem(json, "names"), .cap = sizeof s.text - 1};
        ms_listing_out out = {put, name_of, &s};
        assert_int_equal(ms_listing_print(&out, entries, n_entries), 0);
        assert_string_equal(s.text, cJSON_GetObjectItem(query, "listing")->valuestring);
        size_t whole = s.n;
        for (size_t cap = 0; cap < whole; cap += 97) { /* output that fails anywhere is told */
            s.n = 0;
            s.cap = cap;
            assert_int_equal(ms_listing_print(&out, entries, n_entries), 7);
        }
        n_queries++;
    }
    assert_int_equal(n_queries, 5);
    cJSON_Delete(json);
    free(text);
}

static void scores_as_python(void **state) {
    (void)state;
    static const struct {
        double score;
        const char *text;
    } cases[] = {
        {99.999988079071045, "99.99998808"},
        {100.0, "100.0"},
        {100.00001192092896, "100.00001192"},
        {12.3456791, "12.3456791"},
        {10.000000149, "10.00000015"},
        {66.66666865348816, "66.66666865"},
        {1e-5, "1e-05"},
        {1.23e-6, "1.23e-06"},
        {1e-9, "0.0"},
        {-1e-9, "-0.0"},
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {0.0001, "0.0001"},
        {-5.0, "-5.0"},
        {-12.5, "-12.5"},
        {1e16, "1e+16"},
        {123456789012345678.0, "1.2345678901234568e+17"},
        {9999999999999998.0, "9999999999999998.0"},
        {1e300, "1e+300"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
        {NAN, "nan"},
        {2.5e-8, "2e-08"},
        {0.1 + 0.2, "0.3"},
        {77.968227863311768, "77.96822786"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char buf[32];
        ms_listing_score(buf, cases[i].score);
        assert_string_equal(buf, cases[i].text);
    }
}

static void merging(void **state) {
    (void)state;
    ms_listing_entry e[64];
    /* Equal scores stay in matrix order; a row's first entry counts; fillers are left out. */
    const int64_t rows[6] = {5, 2, -1, 2, 5, 9};
    const float sims[6] = {0.5f, 0.25f, -INFINITY, 0.5f, 0.5f, NAN};
    assert_int_equal(ms_listing_merge(rows, sims, 2, 3, false, e), 3);
    assert_true(e[0].row == 5 && e[0].transpose == -1 &&
                ms_listing_percent(e[0].similarity) == 50.0);
    assert_true(e[1].row == 2 && e[1].transpose == 0);
    assert_true(e[2].row == 9 && isnan(e[2].similarity));
    /* every entry: two rows come twice */
    assert_int_equal(ms_listing_merge(rows, sims, 2, 3, true, e), 5);
    assert_true(e[0].row == 5 && e[0].transpose == -1 && e[1].row == 2 && e[2].row == 5 &&
                e[2].transpose == 0);
    assert_true(e[3].row == 2 && e[3].transpose == -1 && e[4].row == 9);
    assert_int_equal(ms_listing_merge(rows, sims, 1, 6, false, e), 3);
    assert_int_equal(e[0].transpose, 0);
    assert_int_equal(ms_listing_merge(rows, sims, 3, 2, false, e), 3);
    assert_int_equal(e[0].transpose, -6);
    assert_int_equal(ms_listing_merge(rows, sims, 0, 16, false, e), 0);
    assert_int_equal(ms_listing_merge(rows, sims, 12, 0, false, e), 0);
    int64_t many[13];
    float falling[13];
    for (int i = 0; i < 13; i++) many[i] = i, falling[i] = (float)i;
    /* the 13th is dropped */
    assert_int_equal(ms_listing_merge(many, falling, 13, 1, false, e), 12);
    assert_true(e[0].row == 11 && e[0].transpose == 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_listings),
        cmocka_unit_test(scores_as_python),
        cmocka_unit_test(merging),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
