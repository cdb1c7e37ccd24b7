/* What the originals gave on hand-made files: the vectors of test/data. A line is NAME |
 * PARAMETERS | FILE in hexadecimal | IDS; the first line of the data says more. */
#ifndef MS_TEST_VECTORS_H
#define MS_TEST_VECTORS_H
#include "support/hostile.h"
#include "support/test.h"

typedef struct {
    char name[100];
    int factor, is_unclean, center_pitch; /* the last two are midisimx's */
    long long max_seq_len;
    uint8_t file[512];
    size_t n_bytes;
    char expected[700];
} token_vector;

/* Call `check` on each line of the data file, which has so many parameters. Returns the number of
 * lines. */
static inline int each_token_vector(const char *path, int n_parameters,
                                    void (*check)(const token_vector *)) {
    FILE *f = fopen(path, "r");
    static char line[4096];
    int n = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#') continue;
        token_vector v = {.factor = 0};
        char *parameters = strstr(line, " | "), *hex, *expected;
        assert_non_null(parameters);
        hex = strstr(parameters + 3, " | ");
        assert_non_null(hex);
        expected = strchr(hex + 3, '|');
        assert_non_null(expected);
        line[strcspn(line, "\n")] = 0;
        snprintf(v.name, sizeof v.name, "%.*s", (int)(parameters - line), line);
        assert_int_equal(sscanf(parameters, " | %d %lld %d %d", &v.factor, &v.max_seq_len,
                                &v.is_unclean, &v.center_pitch),
                         n_parameters);
        hex += 3;
        assert_true(strspn(hex, "0123456789abcdef") / 2 <= sizeof v.file);
        v.n_bytes = from_hex(hex, v.file);
        snprintf(v.expected, sizeof v.expected, "%s", expected + 2);
        check(&v);
        n++;
    }
    fclose(f);
    return n;
}

/* What an encode gave, as the vectors write it: rc is its status or number of sequences. */
static inline void print_tokens(int64_t rc, const int32_t *ids, const int64_t *starts, char *out,
                                size_t cap) {
    size_t n = 0;
    *out = 0;
    if (rc < 0) snprintf(out, cap, "-");
    for (int64_t v = 0; v < rc; v++) {
        if (v) n += (size_t)snprintf(out + n, cap - n, " / ");
        if (starts[v] == starts[v + 1]) n += (size_t)snprintf(out + n, cap - n, "[]");
        for (int64_t i = starts[v]; i < starts[v + 1]; i++)
            n += (size_t)snprintf(out + n, cap - n, "%s%d", i > starts[v] ? " " : "", ids[i]);
    }
}

#endif
