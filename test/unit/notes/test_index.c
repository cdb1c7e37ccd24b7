/* The file of an index: its bytes follow from the pieces alone, whatever the order, the memory, the
 * shards and the updates; what is damaged is refused or gives a status, and never more. */
#include "notes/file/layout.h"
#include "support/files.h"
#include "support/pieces.h"
#include "support/test.h"
#include <zlib.h>

enum { TUNES = 60, NOTES = 200 };

static void assert_same_bytes(const char *a, const char *b) {
    size_t n, m;
    void *x = read_file(a, &n), *y = read_file(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

static void build(const char *path, int first, int last, int64_t memory) {
    msim_notes_builder *b;
    msim_notes_options o = msim_notes_options_default();
    if (memory) o.memory_bytes = memory;
    assert_int_equal(msim_notes_builder_open(path, &o, &b, NULL), 0);
    add_tunes(b, first, last, NOTES);
    assert_int_equal(msim_notes_builder_finish(b, NULL), 0);
    msim_notes_builder_close(b);
}

static void bytes_do_not_depend_on_the_way(void **state) {
    (void)state;
    msim_notes_builder *b;
    build(in_folder("all"), 0, TUNES, 0);
    build(in_folder("little-memory"), 0, TUNES, 20000);
    assert_same_bytes(in_folder("all"), in_folder("little-memory"));
    /* from the end, and some twice */
    assert_int_equal(msim_notes_builder_open(in_folder("backwards"), NULL, &b, NULL), 0);
    for (int t = TUNES - 1; t >= 0; t--) add_tunes(b, t, t + 1, NOTES);
    add_tunes(b, 10, 20, NOTES);
    assert_int_equal(msim_notes_builder_finish(b, NULL), 0);
    msim_notes_builder_close(b);
    assert_same_bytes(in_folder("all"), in_folder("backwards"));
}

static void shards_merge_to_the_same_bytes(void **state) {
    (void)state;
    const char *paths[7];
    static const int cuts[] = {0, 1, 1, 17, 30, 31, 59, TUNES};
    build(in_folder("all"), 0, TUNES, 0);
    for (int i = 0; i < 7; i++) {
        char name[16];
        snprintf(name, sizeof name, "part %d", i);
        paths[i] = in_folder(name);
        build(paths[i], cuts[i], cuts[i + 1], 0);
    }
    assert_int_equal(msim_notes_merge(paths, 7, in_folder("merged"), 0, NULL), 0);
    assert_same_bytes(in_folder("all"), in_folder("merged"));
    assert_int_equal(msim_notes_merge(paths, 1, in_folder("one"), 0, NULL), 0);
    assert_same_bytes(paths[0], in_folder("one"));
}

static int is_even(void *user, int64_t piece) {
    (void)user;
    return piece % 2 == 0;
}

/* Dropping pieces and adding others is as never having had them. */
static void kept_pieces_and_new_ones(void **state) {
    (void)state;
    msim_notes_builder *b;
    msim_notes *old;
    build(in_folder("old"), 0, 40, 0);
    assert_int_equal(msim_notes_open(in_folder("old"), &old, NULL), 0);
    assert_int_equal(msim_notes_builder_open(in_folder("updated"), NULL, &b, NULL), 0);
    assert_int_equal(msim_notes_builder_add_index(b, old, is_even, NULL, NULL), 0);
    add_tunes(b, 40, 45, NOTES);
    assert_int_equal(msim_notes_builder_finish(b, NULL), 0);
    msim_notes_builder_close(b);
    msim_notes_close(old);
    assert_int_equal(msim_notes_builder_open(in_folder("anew"), NULL, &b, NULL), 0);
    for (int t = 0; t < 40; t += 2) add_tunes(b, t, t + 1, NOTES);
    add_tunes(b, 40, 45, NOTES);
    assert_int_equal(msim_notes_builder_finish(b, NULL), 0);
    msim_notes_builder_close(b);
    assert_same_bytes(in_folder("anew"), in_folder("updated"));
}

/* What was saved on the way is as good as what stays in memory. */
static void saved_on_the_way(void **state) {
    (void)state;
    msim_notes_builder *b;
    msim_notes *saved;
    msim_notes_options o = msim_notes_options_default();
    o.memory_bytes = 30000;
    build(in_folder("all"), 0, TUNES, 0);
    assert_int_equal(msim_notes_builder_open(in_folder("x"), &o, &b, NULL), 0);
    add_tunes(b, 0, 25, NOTES);
    assert_int_equal(msim_notes_builder_save(b, in_folder("saved"), NULL), 0);
    add_tunes(b, 25, TUNES, NOTES);
    assert_int_equal(msim_notes_open(in_folder("saved"), &saved, NULL), 0);
    assert_int_equal(msim_notes_builder_add_index(b, saved, NULL, NULL, NULL), 0);
    assert_int_equal(msim_notes_builder_finish(b, NULL), 0);
    msim_notes_builder_close(b);
    msim_notes_close(saved);
    assert_same_bytes(in_folder("all"), in_folder("x"));
}

static void pieces_come_back(void **state) {
    (void)state;
    static msim_note tune[NOTES];
    msim_notes *notes = index_of_tunes(in_folder("all"), TUNES, NOTES);
    msim_notes_info info = {.size = sizeof info};
    msim_notes_piece piece = {.size = sizeof piece};
    msim_loaded_piece *loaded;
    msim_piece_notes got = {.size = sizeof got};
    assert_int_equal(msim_notes_check(notes, NULL), 0);
    assert_int_equal(msim_notes_get_info(notes, &info), 0);
    assert_int_equal(info.pieces, TUNES);
    assert_int_equal(info.notes, TUNES * NOTES);
    assert_int_equal(msim_notes_find_piece(notes, "tune 017", 8), 17);
    assert_int_equal(msim_notes_find_piece(notes, "tune 17", 7), -MSIM_E_EMPTY);
    assert_int_equal(msim_notes_get_piece(notes, 17, &piece), 0);
    assert_int_equal(piece.content[0], 17);
    assert_int_equal(msim_notes_get_piece(notes, TUNES, &piece), -MSIM_E_ARG);
    make_tune(18, NOTES, tune);
    assert_int_equal(msim_notes_load_piece(notes, 17, &loaded, &got, NULL), 0);
    assert_int_equal(got.n_notes, NOTES);
    for (int i = 0; i < NOTES; i++) {
        assert_int_equal(got.notes[i].start_ms, tune[i].start_ms);
        assert_int_equal(got.notes[i].pitch, tune[i].pitch);
    }
    msim_notes_free_piece(loaded);
    msim_notes_close(notes);
}

static void wrong_pieces_are_refused(void **state) {
    (void)state;
    msim_notes_builder *b;
    msim_note tune[4];
    msim_notes_options o = msim_notes_options_default();
    make_tune(1, 4, tune);
    msim_piece_notes piece = piece_of(tune, 4);
    assert_int_equal(msim_notes_builder_open(in_folder("x"), NULL, &b, NULL), 0);
    piece.n_notes = 0;
    assert_int_equal(msim_notes_builder_add(b, "a", 1, NULL, &piece, NULL), -MSIM_E_EMPTY);
    piece.n_notes = 4;
    tune[3].voice = 1;
    assert_int_equal(msim_notes_builder_add(b, "a", 1, NULL, &piece, NULL), -MSIM_E_ARG);
    msim_notes_builder_close(b);
    o.density = 0;
    assert_int_equal(msim_notes_builder_open(in_folder("x"), &o, &b, NULL), -MSIM_E_ARG);
    assert_null(b);
    assert_int_equal(files_in_folder(), 0);
}

/* ---- Packed notes ---- */

static void packed_notes_give_the_same_bytes(void **state) {
    (void)state;
    static msim_note tune[NOTES];
    const msim_voice voices[] = {{.track = 3, .name = "Lead", .name_bytes = 4},
                                 {.track = 5, .channel = 2, .program = 9, .name = ""}};
    const msim_bar bars[] = {{0, 4, 4}, {2000, 3, 8}, {2750, 3, 8}};
    static const unsigned char content[MSIM_CONTENT_BYTES] = {7};
    msim_notes_builder *plain, *packed;
    assert_int_equal(msim_notes_builder_open(in_folder("plain"), NULL, &plain, NULL), 0);
    assert_int_equal(msim_notes_builder_open(in_folder("packed"), NULL, &packed, NULL), 0);
    for (int t = 0; t < 10; t++) {
        const char name[] = {(char)('a' + t)};
        make_tune(t, NOTES, tune);
        msim_piece_notes piece = piece_of(tune, NOTES);
        if (t % 2) {
            for (int i = 0; i < NOTES; i++) tune[i].voice = i % 3 == 0;
            tune[NOTES - 1].duration_ms = MSIM_NOTE_MAX_MS;
            piece.voices = voices;
            piece.n_voices = 2;
            piece.bars = bars;
            piece.n_bars = 3;
        }
        unsigned char *bytes = test_malloc(msim_notes_pack_bound(&piece));
        const size_t n = msim_notes_pack(&piece, bytes);
        assert_true(n <= msim_notes_pack_bound(&piece));
        assert_int_equal(msim_notes_builder_add(plain, name, 1, content, &piece, NULL), 0);
        assert_int_equal(msim_notes_builder_add_packed(packed, name, 1, content, bytes, n, NULL),
                         0);
        for (size_t m = 0; m < n; m++) /* cut off anywhere */
            assert_int_equal(msim_notes_builder_add_packed(packed, name, 1, NULL, bytes, m, NULL),
                             -MSIM_E_FORMAT);
        test_free(bytes);
    }
    assert_int_equal(msim_notes_builder_finish(plain, NULL), 0);
    assert_int_equal(msim_notes_builder_finish(packed, NULL), 0);
    msim_notes_builder_close(plain);
    msim_notes_builder_close(packed);
    assert_same_bytes(in_folder("plain"), in_folder("packed"));
}

/* Whatever the bytes are: a status. */
static void damaged_packed_notes_do_no_harm(void **state) {
    (void)state;
    static msim_note tune[NOTES];
    unsigned seed = 1;
    msim_notes_builder *b;
    make_tune(1, NOTES, tune);
    const msim_piece_notes piece = piece_of(tune, NOTES);
    unsigned char *bytes = test_malloc(msim_notes_pack_bound(&piece));
    const size_t n = msim_notes_pack(&piece, bytes);
    assert_int_equal(msim_notes_builder_open(in_folder("x"), NULL, &b, NULL), 0);
    for (int i = 0; i < 3000; i++) {
        seed = seed * 1664525 + 1013904223;
        const size_t at = seed / 256 % n;
        const unsigned char was = bytes[at];
        bytes[at] = (unsigned char)(seed >> 24);
        (void)msim_notes_builder_add_packed(b, "a", 1, NULL, bytes, n, NULL);
        bytes[at] = was;
    }
    msim_notes_builder_close(b);
    test_free(bytes);
}

/* ---- Damage ---- */

/* Whatever the bytes are: a status or an answer. */
static void use(const char *path) {
    msim_notes *notes;
    msim_finder *finder;
    msim_note query[60];
    const msim_note_match *matches;
    msim_loaded_piece *loaded;
    msim_piece_notes piece = {.size = sizeof piece};
    msim_error err;
    if (msim_notes_open(path, &notes, &err) < 0) return;
    (void)msim_notes_check(notes, &err);
    make_tune(8, 60, query);
    assert_int_equal(msim_finder_open(notes, NULL, &finder, NULL), 0);
    (void)msim_finder_find(finder, query, 60, &matches, &err);
    if (msim_notes_load_piece(notes, 7, &loaded, &piece, &err) >= 0) msim_notes_free_piece(loaded);
    (void)msim_notes_find_piece(notes, "tune 017", 8);
    msim_finder_close(finder);
    const char *paths[1] = {path};
    (void)msim_notes_merge(paths, 1, in_folder("merged"), 0, &err);
    msim_notes_close(notes);
}

static void damaged_tails_are_refused(void **state) {
    (void)state;
    size_t n;
    msim_notes *notes;
    build(in_folder("all"), 0, 8, 0);
    unsigned char *bytes = read_file(in_folder("all"), &n);
    for (size_t at = n - MS_TAIL_BYTES; at < n; at++) {
        bytes[at] ^= 0x10;
        write_file(in_folder("bad"), bytes, n);
        assert_true(msim_notes_open(in_folder("bad"), &notes, NULL) < 0);
        assert_null(notes);
        bytes[at] ^= 0x10;
    }
    for (size_t cut = 0; cut < n; cut += 97) {
        write_file(in_folder("bad"), bytes, cut);
        assert_int_equal(msim_notes_open(in_folder("bad"), &notes, NULL), -MSIM_E_FORMAT);
    }
    free(bytes);
}

/* Any byte, with the checksum of the tail made right: nothing is read outside the file, and a check
 * sees the change. */
static void damaged_sections_do_no_harm(void **state) {
    (void)state;
    size_t n;
    uint64_t seed = 77;
    build(in_folder("all"), 0, 12, 0);
    unsigned char *bytes = read_file(in_folder("all"), &n), *changed = malloc(n);
    for (int round = 0; round < 1500; round++) {
        memcpy(changed, bytes, n);
        const int n_changes = 1 + (int)(splitmix(&seed) % 3);
        for (int i = 0; i < n_changes; i++) {
            const uint64_t r = splitmix(&seed);
            const size_t from = r % 4 ? MS_HEAD_BYTES : n - MS_TAIL_BYTES;
            changed[from + (r >> 8) % (n - 4 - from)] = (unsigned char)(r >> 2);
        }
        const uint32_t crc = (uint32_t)crc32_z(0, changed + n - MS_TAIL_BYTES, MS_TAIL_BYTES - 4);
        memcpy(changed + n - 4, &crc, 4);
        write_file(in_folder("bad"), changed, n);
        use(in_folder("bad"));
    }
    free(changed);
    free(bytes);
}

static void a_check_sees_every_byte(void **state) {
    (void)state;
    size_t n;
    msim_notes *notes;
    build(in_folder("all"), 0, 3, 0);
    unsigned char *bytes = read_file(in_folder("all"), &n);
    ms_notes_tail tail;
    memcpy(&tail, bytes + n - MS_TAIL_BYTES, sizeof tail);
    for (int s = 0; s < MS_SECTIONS; s++)
        for (uint64_t at = 0; at < tail.sections[s].n_bytes; at += 13) {
            bytes[tail.sections[s].at + at] ^= 1;
            write_file(in_folder("bad"), bytes, n);
            assert_int_equal(msim_notes_open(in_folder("bad"), &notes, NULL), 0);
            assert_int_equal(msim_notes_check(notes, NULL), -MSIM_E_FORMAT);
            msim_notes_close(notes);
            bytes[tail.sections[s].at + at] ^= 1;
        }
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(bytes_do_not_depend_on_the_way, folder_clean),
        cmocka_unit_test_teardown(shards_merge_to_the_same_bytes, folder_clean),
        cmocka_unit_test_teardown(kept_pieces_and_new_ones, folder_clean),
        cmocka_unit_test_teardown(saved_on_the_way, folder_clean),
        cmocka_unit_test_teardown(pieces_come_back, folder_clean),
        cmocka_unit_test_teardown(wrong_pieces_are_refused, folder_clean),
        cmocka_unit_test_teardown(packed_notes_give_the_same_bytes, folder_clean),
        cmocka_unit_test_teardown(damaged_packed_notes_do_no_harm, folder_clean),
        cmocka_unit_test_teardown(damaged_tails_are_refused, folder_clean),
        cmocka_unit_test_teardown(damaged_sections_do_no_harm, folder_clean),
        cmocka_unit_test_teardown(a_check_sees_every_byte, folder_clean),
    };
    return cmocka_run_group_tests(tests, folder_open, folder_close);
}
