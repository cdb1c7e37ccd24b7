/* Reports: what a program may do with the handle, notes as the page gets them, sizes that are kept,
 * memory that runs out. test/cli/test_report.py looks at what is in the file. */
#include "report/report.h"
#include "support/files.h"
#include "support/pieces.h"
#include "support/test.h"
#include <math.h>

enum { NOTES = 200 };

static msim_note tune[NOTES], other[NOTES];

static int set_up(void **state) {
    make_tune(1, NOTES, tune);
    for (size_t i = 0; i < NOTES; i++) {
        other[i] = tune[i];
        other[i].pitch += 3;
        other[i].start_ms = (uint32_t)(tune[i].start_ms * 1.25);
    }
    return folder_open(state);
}

static int64_t add(msim_report *r, const char *name, const msim_note *notes, size_t n,
                   msim_error *err) {
    const msim_piece_notes piece = piece_of(notes, n);
    return msim_report_add_notes(r, name, strlen(name), &piece, err);
}

/* A report of one query and its match, written. Returns the first failure. */
static int write_report(const char *path, msim_error *err) {
    msim_report *r;
    msim_report_match match = msim_report_match_default();
    int64_t rc = msim_report_open(NULL, &r, err);
    if (rc < 0) return (int)rc;
    const int64_t a = add(r, "a", tune, NOTES, err);
    match.piece = a < 0 ? a : add(r, "b", other, NOTES, err);
    rc = match.piece < 0 ? match.piece : msim_report_add_query(r, a, -1, -1, err);
    if (rc >= 0) rc = msim_report_add_match(r, rc, &match, err);
    if (rc >= 0) rc = msim_report_write(r, path, err);
    msim_report_close(r);
    return (int)rc;
}

static void written(void **state) {
    (void)state;
    size_t n;
    assert_int_equal(write_report(in_folder("r.html"), NULL), 0);
    char *text = read_file(in_folder("r.html"), &n);
    assert_non_null(strstr(text, "\"by\":3,\"tempo\":1.25"));
    assert_non_null(strstr(text, "\"from\":\"given\""));
    assert_null(strstr(text, "{{"));
    free(text);
    assert_int_equal(files_in_folder(), 1);
}

/* A piece keeps its number, however many others there are; another path is another piece. */
static void pieces_are_known(void **state) {
    (void)state;
    enum { PIECES = 500 };
    msim_report *r;
    char name[16];
    assert_int_equal(msim_report_open(NULL, &r, NULL), 0);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < PIECES; i++) {
            snprintf(name, sizeof name, "%d", i);
            assert_int_equal(msim_report_add_piece(r, name, strlen(name), NULL, NULL), i);
        }
    assert_int_equal(msim_report_add_piece(r, "7", 1, in_folder("7"), NULL), PIECES);
    assert_int_equal(msim_report_add_piece(r, "7", 1, NULL, NULL), 7);
    assert_int_equal(add(r, "7", tune, NOTES, NULL),
                     PIECES + 1); /* notes are given, not looked up */
    assert_int_equal(msim_report_add_piece(r, "7", 1, NULL, NULL), 7);
    msim_report_close(r);
}

static void out_of_memory(void **state) {
    (void)state;
    int failures = 0;
    msim_error err;
    for (int n = 1;; n++) {
        unlink(in_folder("r.html"));
        ms_mem_fail_at(n);
        const int rc = write_report(in_folder("r.html"), &err);
        ms_mem_fail_at(0);
        if (rc == 0) break;
        assert_int_equal(rc, -MSIM_E_MEMORY);
        assert_int_equal(files_in_folder(), 0);
        failures++;
    }
    assert_true(failures > 30);
}

static void what_does_not_exist(void **state) {
    (void)state;
    msim_report *r;
    msim_report_match match = msim_report_match_default();
    msim_report_options o = msim_report_options_default();
    msim_report_info info = {.size = sizeof info};
    msim_note bad = tune[0];
    assert_int_equal(msim_report_open(NULL, &r, NULL), 0);
    assert_int_equal(msim_report_add_query(r, 0, -1, -1, NULL), -MSIM_E_ARG);
    assert_int_equal(add(r, "a", tune, NOTES, NULL), 0);
    assert_int_equal(msim_report_add_match(r, 0, &match, NULL), -MSIM_E_ARG);
    assert_int_equal(msim_report_add_query(r, 0, -1, -1, NULL), 0);
    assert_int_equal(msim_report_add_match(r, 0, &match, NULL), -MSIM_E_ARG); /* piece -1 */
    match.piece = 1;
    assert_int_equal(msim_report_add_match(r, 0, &match, NULL), -MSIM_E_ARG);
    bad.pitch = 128;
    assert_int_equal(add(r, "b", &bad, 1, NULL), -MSIM_E_ARG);
    assert_int_equal(msim_report_add_midi(r, "b", 1, "no", 2, NULL), -MSIM_E_FORMAT);
    assert_int_equal(msim_report_get_info(r, &info), 0);
    assert_int_equal(info.pieces, 1);
    assert_int_equal(info.matches, 0);
    msim_report_close(r);
    o.max_notes = -1;
    assert_int_equal(msim_report_open(&o, &r, NULL), -MSIM_E_ARG);
    assert_null(r);
    msim_report_close(NULL);
}

/* Longer pieces are cut, further ones named; a piece without notes has no agreement. */
static void sizes_are_kept(void **state) {
    (void)state;
    msim_report *r;
    msim_report_options o = msim_report_options_default();
    msim_report_match match = msim_report_match_default();
    msim_report_info info = {.size = sizeof info};
    o.max_piece_notes = 150;
    o.max_notes = 400;
    assert_int_equal(msim_report_open(&o, &r, NULL), 0);
    assert_int_equal(add(r, "a", tune, NOTES, NULL), 0);
    assert_int_equal(add(r, "b", other, NOTES, NULL), 1);
    assert_int_equal(add(r, "c", tune, NOTES, NULL), 2);
    assert_int_equal(r->pieces[1].n_notes, 150);
    assert_int_equal(r->pieces[1].n_left_out, NOTES - 150);
    assert_int_equal(r->pieces[2].n_notes, 0);
    assert_int_equal(msim_report_add_query(r, 0, -1, -1, NULL), 0);
    for (match.piece = 0; match.piece < 3; match.piece++)
        assert_int_equal(msim_report_add_match(r, 0, &match, NULL), match.piece);
    assert_int_equal(msim_report_get_info(r, &info), 0);
    assert_int_equal(info.without_notes, 1);
    assert_int_equal(msim_report_write(r, in_folder("s.html"), NULL), 0);
    assert_int_equal(msim_report_write(r, in_folder("s.html"), NULL), 0); /* again */
    msim_report_close(r);
}

typedef struct {
    char text[1 << 16];
    size_t n;
    int stops;
} received;

static int receive(void *user, const void *bytes, size_t n) {
    received *to = user;
    assert_true(to->n + n < sizeof to->text);
    memcpy(to->text + to->n, bytes, n);
    to->n += n;
    return to->stops;
}

/* What the page reads, without a file: nothing is escaped as inside HTML. */
static void json_alone(void **state) {
    (void)state;
    static received to;
    msim_report *r;
    msim_error e;
    assert_int_equal(msim_report_open(NULL, &r, NULL), 0);
    assert_int_equal(add(r, "<a>", tune, NOTES, NULL), 0);
    assert_int_equal(msim_report_add_query(r, 0, -1, -1, NULL), 0);
    assert_int_equal(msim_report_write_json(r, receive, &to, &e), 0);
    cJSON *json = ms_json_parse(to.text, to.n, &e);
    assert_non_null(json);
    const cJSON *piece = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "pieces"), 0);
    assert_string_equal(cJSON_GetObjectItem(piece, "name")->valuestring, "<a>");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "queries")), 1);
    cJSON_Delete(json);
    to.stops = 1;
    to.n = 0;
    assert_int_equal(msim_report_write_json(r, receive, &to, &e), -MSIM_E_STOPPED);
    msim_report_close(r);
}

/* The two axes of made rows: most along x, less along y, least along z. */
static void principal_axes(void **state) {
    (void)state;
    enum { N = 100, DIM = 5 };
    float rows[N * DIM];
    double points[2 * N], shares[2];
    const msim_report r = {0};
    for (int i = 0; i < N; i++) {
        const double t = i * 0.7;
        rows[i * DIM + 0] = 10;
        rows[i * DIM + 1] = (float)(2 * cos(t));
        rows[i * DIM + 2] = (float)sin(t);
        rows[i * DIM + 3] = (float)(0.1 * cos(3 * t));
        rows[i * DIM + 4] = 0;
    }
    assert_int_equal(ms_report_pca(&r, rows, N, DIM, points, shares, NULL), 0);
    assert_true(shares[0] > 0.7 && shares[1] > 0.15 && shares[0] + shares[1] > 0.98);
    for (int i = 0; i < N; i++) {
        assert_true(fabs(points[2 * i] - 0.195 * cos(i * 0.7)) < 0.02);
        assert_true(fabs(points[2 * i + 1] - 0.098 * sin(i * 0.7)) < 0.02);
    }
}

enum { ROWS = 40, DIM = 3 };

/* Stops at the call that *user counts down to. */
static int count_down(void *user, const char *unit, int64_t done, int64_t all) {
    int *left = user;
    assert_true(unit[0] && done >= 0 && (all < 0 || done <= all));
    return --*left == 0;
}

static msim_corpus *made_rows(float *rows) {
    msim_corpus *corpus;
    for (int i = 0; i < ROWS * DIM; i++) rows[i] = (float)sin(i * i);
    assert_int_equal(msim_corpus_open_rows(rows, ROWS, DIM, NULL, NULL, &corpus, NULL), 0);
    return corpus;
}

/* A map that is stopped, wherever, leaves the report as it was. */
static void a_map_is_stopped(void **state) {
    (void)state;
    float rows[ROWS * DIM];
    int left = 0, stopped = 0, rc = -1;
    msim_report *r;
    msim_report_options o = msim_report_options_default();
    msim_report_info info = {.size = sizeof info};
    msim_corpus *corpus = made_rows(rows);
    o.progress = count_down;
    o.user = &left;
    assert_int_equal(msim_report_open(&o, &r, NULL), 0);
    for (int at = 1; rc < 0; at++) {
        left = at;
        rc = msim_report_add_map(r, corpus, NULL);
        assert_true(rc == 0 || rc == -MSIM_E_STOPPED);
        assert_int_equal(msim_report_get_info(r, &info), 0);
        assert_int_equal(info.points, rc == 0 ? ROWS : 0);
        stopped += rc < 0;
    }
    assert_true(stopped > ROWS + 3); /* rows looked at, rows read, rounds, points */
    msim_report_close(r);
    msim_corpus_close(corpus);
}

/* Four pieces of two contents: two groups. */
static msim_groups *two_groups(void) {
    static const char *const names[] = {"a1", "a2", "b1", "b2"};
    const char *path = in_folder("x.notes");
    msim_groups_options o = msim_groups_options_default();
    msim_notes_builder *b;
    msim_groups *groups;
    assert_int_equal(msim_notes_builder_open(path, NULL, &b, NULL), 0);
    for (int i = 0; i < 4; i++) {
        const unsigned char content[MSIM_CONTENT_BYTES] = {(unsigned char)names[i][0]};
        const msim_piece_notes piece = piece_of(i < 2 ? tune : other, NOTES - i / 2);
        assert_int_equal(msim_notes_builder_add(b, names[i], 2, content, &piece, NULL), 0);
    }
    assert_int_equal(msim_notes_builder_finish(b, NULL), 0);
    msim_notes_builder_close(b);
    o.paths = &path;
    o.n_paths = 1;
    o.work = in_folder("work");
    o.threads = 1;
    o.kinds = 1 << MSIM_PAIR_BYTES;
    assert_int_equal(msim_groups_find(&o, &groups, NULL), 0);
    return groups;
}

/* Groups that are stopped in the middle leave no pieces. */
static void groups_are_stopped(void **state) {
    (void)state;
    int left = 2;
    msim_report *r;
    msim_report_options o = msim_report_options_default();
    msim_report_info info = {.size = sizeof info};
    msim_groups *groups = two_groups();
    o.progress = count_down;
    o.user = &left;
    assert_int_equal(msim_report_open(&o, &r, NULL), 0);
    assert_int_equal(msim_report_add_piece(r, "b1", 2, NULL, NULL), 0);
    assert_int_equal(msim_report_add_groups(r, groups, NULL), -MSIM_E_STOPPED);
    assert_int_equal(msim_report_get_info(r, &info), 0);
    assert_int_equal(info.pieces, 1);
    assert_int_equal(info.without_notes, 1);
    assert_int_equal(info.not_found, 1);
    assert_int_equal(msim_report_add_groups(r, groups, NULL), 0);
    assert_int_equal(msim_report_get_info(r, &info), 0);
    assert_int_equal(info.groups, 2);
    assert_int_equal(info.pieces, 4);
    assert_int_equal(msim_report_add_piece(r, "b1", 2, NULL, NULL), 0);
    msim_report_close(r);
    msim_groups_close(groups);
}

/* Notes that were given under a name are not those of the file of that name. */
static void given_notes_are_no_file(void **state) {
    (void)state;
    msim_report *r;
    assert_int_equal(msim_report_open(NULL, &r, NULL), 0);
    assert_int_equal(add(r, "a", tune, NOTES, NULL), 0);
    assert_int_equal(msim_report_add_piece(r, "a", 1, NULL, NULL), 1);
    assert_int_equal(msim_report_add_piece(r, "a", 1, NULL, NULL), 1);
    msim_report_close(r);
}

/* The places are the given ones, over the longer axis; others are refused. */
static void a_given_layout(void **state) {
    (void)state;
    static received to;
    float rows[ROWS * DIM], points[2 * ROWS];
    msim_report *r;
    msim_error e;
    msim_corpus *corpus = made_rows(rows);
    to = (received){.n = 0};
    for (int i = 0; i < ROWS; i++) {
        points[2 * i] = (float)i;
        points[2 * i + 1] = -5;
    }
    assert_int_equal(msim_report_open(NULL, &r, NULL), 0);
    assert_int_equal(msim_report_add_layout(r, corpus, points, ROWS - 1, &e), -MSIM_E_ARG);
    assert_non_null(strstr(e.text, "expected 40 points"));
    points[9] = NAN;
    assert_int_equal(msim_report_add_layout(r, corpus, points, ROWS, &e), -MSIM_E_ARG);
    assert_non_null(strstr(e.text, "point 4 is nowhere"));
    points[9] = -5;
    assert_int_equal(msim_report_add_layout(r, corpus, points, ROWS, &e), 0);
    assert_int_equal(msim_report_add_map(r, corpus, &e), -MSIM_E_ARG); /* it has one */
    assert_int_equal(msim_report_write_json(r, receive, &to, &e), 0);
    cJSON *json = ms_json_parse(to.text, to.n, &e);
    const cJSON *map = cJSON_GetObjectItem(json, "map"), *at = cJSON_GetObjectItem(map, "points");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(map, "shares")));
    assert_int_equal(cJSON_GetArraySize(at), 2 * ROWS);
    assert_int_equal(cJSON_GetArrayItem(at, 2 * ROWS - 2)->valueint, 65535);
    assert_int_equal(cJSON_GetArrayItem(at, 2)->valueint, 1680); /* 65535 / 39 */
    assert_int_equal(cJSON_GetArrayItem(at, 3)->valueint, 0);
    cJSON_Delete(json);
    msim_report_close(r);
    msim_corpus_close(corpus);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written),
        cmocka_unit_test(pieces_are_known),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(what_does_not_exist),
        cmocka_unit_test(sizes_are_kept),
        cmocka_unit_test(json_alone),
        cmocka_unit_test(principal_axes),
        cmocka_unit_test(a_map_is_stopped),
        cmocka_unit_test(a_given_layout),
        cmocka_unit_test(groups_are_stopped),
        cmocka_unit_test(given_notes_are_no_file),
    };
    return cmocka_run_group_tests(tests, set_up, folder_close);
}
