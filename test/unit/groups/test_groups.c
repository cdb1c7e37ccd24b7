/* Groups through the public header: numbers, evidence seen from both sides, splits, what is
 * refused, and a stop or an allocation that fails at any point. test/cli/test_groups.py has the
 * kinds and the rules. */
#include "base/hash/digest.h"
#include "base/mem.h"
#include "groups/state.h"
#include "support/files.h"
#include "support/pieces.h"
#include "support/test.h"
#include <math.h>
#include <unistd.h>

enum { NOTES = 120, TUNES = 6 };

static void add(msim_notes_builder *b, const char *name, int tune, int shift, unsigned char mark) {
    msim_note notes[NOTES];
    unsigned char content[MSIM_CONTENT_BYTES] = {(unsigned char)tune, 0, mark};
    make_tune((uint64_t)tune + 1, NOTES, notes);
    for (int i = 0; i < NOTES; i++) notes[i].pitch = (uint8_t)(notes[i].pitch + shift);
    const msim_piece_notes piece = piece_of(notes, NOTES);
    assert_int_equal(msim_notes_builder_add(b, name, strlen(name), content, &piece, NULL), 0);
}

/* Tunes 1 to 6; two again with the same content, one of them in another key. */
static const char *make_index(void) {
    const char *path = in_folder("x.notes");
    msim_notes_builder *b;
    assert_int_equal(msim_notes_builder_open(path, NULL, &b, NULL), 0);
    add_tunes(b, 1, TUNES + 1, NOTES);
    add(b, "again", 2, 0, 0);
    add(b, "once more", 2, 0, 0);
    add(b, "up", 2, 5, 1);
    assert_int_equal(msim_notes_builder_finish(b, NULL), 0);
    msim_notes_builder_close(b);
    return path;
}

static msim_groups_options options_of(const char *const *path) {
    msim_groups_options o = msim_groups_options_default();
    o.paths = path;
    o.n_paths = 1;
    o.work = in_folder("work");
    o.threads = 1;
    return o;
}

static int count_pair(void *user, const msim_file_pair *p) {
    assert_true(p->a < p->b && p->kind > MSIM_PAIR_NONE && p->kind < MSIM_PAIR_COUNT);
    return ++*(int *)user > 2;
}

static void groups_of_an_index(void **state) {
    (void)state;
    const char *path = make_index();
    const msim_groups_options o = options_of(&path);
    msim_groups *g;
    msim_groups_info info = {.size = sizeof info};
    msim_groups_file f = {.size = sizeof f};
    msim_file_pair p, back;
    const int64_t *members;
    int n = 0;
    assert_int_equal(msim_groups_find(&o, &g, NULL), 0);
    assert_int_equal(msim_groups_get_info(g, &info), 0);
    assert_int_equal(info.files, TUNES + 3);
    assert_int_equal(info.contents, TUNES + 1);
    assert_int_equal(info.groups, 1);
    assert_int_equal(info.singles, TUNES - 1);
    assert_int_equal(info.asked, TUNES);
    assert_int_equal(info.pairs[MSIM_PAIR_BYTES], 2);
    assert_int_equal(info.pairs[MSIM_PAIR_KEY], 1);
    assert_int_equal(msim_groups_get_members(g, 1, &members), 4);
    assert_int_equal(msim_groups_get_file(g, members[3], &f), 0);
    assert_true(f.name_bytes == 2 && memcmp(f.name, "up", 2) == 0 && f.group == 1);
    assert_int_equal(f.keeper, members[0]);
    assert_int_equal(msim_groups_relate(g, members[0], members[3], &p), MSIM_PAIR_KEY);
    assert_int_equal(msim_groups_relate(g, members[3], members[0], &back), MSIM_PAIR_KEY);
    assert_true(p.transpose == 5 && back.transpose == -5 && fabs(p.tempo - 1) < 1e-9);
    assert_int_equal(msim_groups_relate(g, 0, (int64_t)info.files, NULL), MSIM_PAIR_NONE);
    assert_int_equal(msim_groups_pairs(g, count_pair, &n, NULL), -MSIM_E_STOPPED);
    assert_int_equal(msim_groups_get_members(g, 0, &members), -MSIM_E_ARG);
    assert_int_equal(msim_groups_get_members(g, 2 + TUNES, &members), -MSIM_E_ARG);
    assert_int_equal(msim_groups_get_file(g, -1, &f), -MSIM_E_ARG);
    msim_groups_close(g);
    assert_int_equal(files_in_folder(), 2); /* the index and the pairs */
}

static void splits(void **state) {
    (void)state;
    const char *path = make_index();
    const msim_groups_options o = options_of(&path);
    const double shares[] = {2, 1}, wrong[] = {1, -1};
    int sides[TUNES + 3], again[TUNES + 3], n_first = 0;
    int64_t lumps[TUNES + 3], crossing = -1;
    msim_groups *g;
    assert_int_equal(msim_groups_find(&o, &g, NULL), 0);
    assert_int_equal(msim_groups_split(g, shares, 2, 7, 0, sides, lumps, &crossing, NULL), 0);
    assert_int_equal(crossing, 0);
    for (int i = 0; i < TUNES + 3; i++) n_first += sides[i] == 0;
    assert_int_equal(n_first, 6);
    assert_int_equal(lumps[0], 1);
    assert_int_equal(msim_groups_split(g, shares, 2, 7, 0, again, NULL, NULL, NULL), 0);
    assert_memory_equal(sides, again, sizeof sides);
    assert_int_equal(msim_groups_split(g, wrong, 2, 7, 0, again, NULL, NULL, NULL), -MSIM_E_ARG);
    assert_int_equal(msim_groups_split(g, shares, 0, 7, 0, again, NULL, NULL, NULL), -MSIM_E_ARG);
    msim_groups_close(g);
}

static void wrong_options(void **state) {
    (void)state;
    const char *path = make_index(), *none = in_folder("none.notes");
    msim_groups *g;
    msim_error err;
    for (int i = 0; i < 6; i++) {
        msim_groups_options o = options_of(&path);
        if (i == 0) o.work = NULL;
        if (i == 1) o.n_paths = 0;
        if (i == 2) o.link = 3;
        if (i == 3) o.keep = MSIM_KEEPER_PREFERENCES;
        if (i == 4) o.evalue = -1;
        if (i == 5) o.paths = &none;
        const int rc = msim_groups_find(&o, &g, &err);
        assert_int_equal(rc, i == 5 ? -MSIM_E_IO : -MSIM_E_ARG);
        assert_null(g);
        assert_true(err.text[0]);
    }
}

static int stop_at(void *user, const char *unit, int64_t done, int64_t all) {
    (void)unit;
    (void)done;
    (void)all;
    return --*(int *)user == 0;
}

static void stopped_anywhere(void **state) {
    (void)state;
    const char *path = make_index();
    msim_groups *g;
    for (int n = 1; n < 1000; n++) {
        msim_groups_options o = options_of(&path);
        int left = n;
        o.progress = stop_at;
        o.user = &left;
        const int rc = msim_groups_find(&o, &g, NULL);
        (void)remove(in_folder("work.pairs"));
        msim_groups_close(g);
        if (rc >= 0) return;
        assert_int_equal(rc, -MSIM_E_STOPPED);
        assert_null(g);
    }
    fail();
}

static void out_of_memory(void **state) {
    (void)state;
    const char *path = make_index();
    msim_groups *g;
    msim_error err;
    int rc = -1;
    for (int n = 1; rc < 0 && n < 5000; n += n < 400 ? 1 : 7) {
        msim_groups_options o = options_of(&path);
        o.kinds = (1 << MSIM_PAIR_COUNT) - 2;
        o.link = n % 3;
        ms_mem_fail_at(n);
        rc = msim_groups_find(&o, &g, &err);
        ms_mem_fail_at(0);
        if (rc < 0) assert_int_equal(rc, -MSIM_E_MEMORY);
        if (rc < 0) assert_null(g);
        if (rc >= 0) msim_groups_close(g);
        (void)remove(in_folder("work.pairs"));
    }
    assert_true(rc >= 0);
}

/* ---- Reading ---- */

static void write_midi(const char *path, int tune) {
    msim_note notes[NOTES];
    unsigned char bytes[4096];
    make_tune((uint64_t)tune + 1, NOTES, notes);
    const msim_piece_notes piece = piece_of(notes, NOTES);
    const int64_t n = msim_midi_write_notes(&piece, 0, bytes, sizeof bytes, NULL);
    assert_in_range(n, 1, sizeof bytes);
    write_file(path, bytes, (size_t)n);
}

static int stop_after_file(void *user, const char *unit, int64_t done, int64_t all) {
    (void)all;
    return strcmp(unit, "files") == 0 && done == *(const int64_t *)user;
}

/* An index that has the content of a file, and other notes. */
static void plant(const char *path, const char *of, int n_notes) {
    msim_note notes[NOTES];
    unsigned char digest[MS_SHA256_BYTES];
    char hex[2 * MSIM_CONTENT_BYTES + 1];
    msim_notes_builder *b;
    size_t n;
    void *bytes = read_file(of, &n);
    assert_int_equal(ms_digest_of(MS_DIGEST_SHA256, bytes, n, digest, NULL), 0);
    ms_digest_put_hex(digest, MSIM_CONTENT_BYTES, hex);
    free(bytes);
    make_tune(99, (size_t)n_notes, notes);
    const msim_piece_notes piece = piece_of(notes, (size_t)n_notes);
    assert_int_equal(msim_notes_builder_open(path, NULL, &b, NULL), 0);
    assert_int_equal(msim_notes_builder_add(b, hex, strlen(hex), digest, &piece, NULL), 0);
    assert_int_equal(msim_notes_builder_finish(b, NULL), 0);
    msim_notes_builder_close(b);
}

/* A run that is stopped keeps the notes that it has read; the next takes them from there, and what
 * it leaves is what a run that was not stopped leaves. */
static void reading_goes_on(void **state) {
    (void)state;
    const char *paths[] = {in_folder("1.mid"), in_folder("2.mid"), in_folder("3.mid")};
    const char *part = in_folder("work.notes.kept-0"), *index = in_folder("work.notes");
    msim_groups_options o = options_of(paths);
    msim_groups_file f = {.size = sizeof f};
    msim_groups *g;
    int64_t last = 2;
    size_t n, n_again;
    for (int i = 0; i < 3; i++) write_midi(paths[i], i);
    o.n_paths = 3;
    assert_int_equal(msim_groups_find(&o, &g, NULL), 0);
    msim_groups_close(g);
    void *whole = read_file(index, &n);
    assert_int_equal(remove(index), 0);
    o.progress = stop_after_file;
    o.user = &last;
    assert_int_equal(msim_groups_find(&o, &g, NULL), -MSIM_E_STOPPED);
    assert_int_equal(access(part, F_OK), 0);
    assert_int_not_equal(access(index, F_OK), 0);
    o.progress = NULL;
    assert_int_equal(msim_groups_find(&o, &g, NULL), 0);
    msim_groups_close(g);
    void *again = read_file(index, &n_again);
    assert_true(n == n_again && memcmp(whole, again, n) == 0);
    assert_int_not_equal(access(part, F_OK), 0);
    free(whole);
    free(again);
    assert_int_equal(remove(index), 0);
    plant(part, paths[1], 50);
    assert_int_equal(msim_groups_find(&o, &g, NULL), 0);
    assert_int_equal(msim_groups_get_file(g, 1, &f), 0);
    assert_int_equal(f.n_notes, 50);
    msim_groups_close(g);
    write_file(part, "damaged", 7); /* no loss */
    assert_int_equal(remove(index), 0);
    assert_int_equal(msim_groups_find(&o, &g, NULL), 0);
    assert_int_equal(msim_groups_get_file(g, 1, &f), 0);
    assert_int_equal(f.n_notes, NOTES);
    msim_groups_close(g);
    assert_int_not_equal(access(part, F_OK), 0);
}

/* ---- Pairs that are kept ---- */

static bool is_there(const char *name) { return access(in_folder(name), F_OK) == 0; }

/* A new file of pairs that does not come to take its place leaves nothing. */
static void a_replacement_that_fails(void **state) {
    (void)state;
    const unsigned char content[MSIM_CONTENT_BYTES] = {1};
    ms_groups_state *s, *next;
    assert_int_equal(ms_groups_state_open(in_folder("p"), 1, 1e-3, &s, NULL), 0);
    for (int is_replaced = 0; is_replaced < 2; is_replaced++) {
        assert_int_equal(ms_groups_state_open_next(s, &next, NULL), 0);
        assert_true(is_there("p.next"));
        assert_int_equal(ms_groups_state_mark(next, content, MS_GROUPS_THERE, NULL), 0);
        if (is_replaced) assert_int_equal(ms_groups_state_replace(s, next, NULL), 0);
        ms_groups_state_close(next);
        assert_false(is_there("p.next"));
        assert_true(is_there("p"));
    }
    ms_groups_state_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(groups_of_an_index, folder_clean),
        cmocka_unit_test_teardown(splits, folder_clean),
        cmocka_unit_test_teardown(wrong_options, folder_clean),
        cmocka_unit_test_teardown(stopped_anywhere, folder_clean),
        cmocka_unit_test_teardown(out_of_memory, folder_clean),
        cmocka_unit_test_teardown(reading_goes_on, folder_clean),
        cmocka_unit_test_teardown(a_replacement_that_fails, folder_clean),
    };
    return cmocka_run_group_tests(tests, folder_open, folder_close);
}
