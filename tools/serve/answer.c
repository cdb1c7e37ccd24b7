/* One request answered: the pieces that share its notes, the rows that are alike, and the report of
 * both as JSON. Contract: tools/serve/answer.h. */
#define _GNU_SOURCE
#include "answer.h"
#include "base/clock.h"
#include "base/mem.h"
#include "common/notes/asked.h"
#include "handles.h"
#include <stdio.h>
#include <string.h>

struct ms_answerer {
    ms_handles open; /* owned */
    const atomic_bool *stops;
    ms_task *task; /* borrowed: the one that runs */
    _Atomic double looked;
    double ends; /* when the task has had its time */
    atomic_bool is_late;
};

/* One run. */
typedef struct {
    ms_answerer *a;
    ms_task *task;
    const ms_ask *ask;
    msim_report *report; /* owned, and so on */
    ms_ask_piece *ids;   /* [n_ids] of the report's pieces */
    size_t n_ids, ids_cap;
    char *name; /* of a row: scratch */
    size_t name_cap;
    ms_asked asked;
    bool has_notes;
    int64_t query;
    msim_match *rows;       /* [n_rows] */
    msim_span *spans;       /* [n_rows], or NULL */
    msim_meaning *meanings; /* [n_rows], or NULL */
    int64_t n_rows;
    char notice[400]; /* what was not done; "": nothing */
} run;

/* ---- Opening ---- */

static int should_stop(void *user) {
    ms_answerer *a = user;
    if (atomic_load(a->stops)) return 1;
    const double now = ms_clock_now();
    if (now - atomic_load(&a->looked) < 0.02) return atomic_load(&a->task->is_cancelled);
    atomic_store(&a->looked, now);
    if (now > a->ends) atomic_store(&a->is_late, true);
    return now > a->ends || ms_task_is_unwanted(a->task);
}

/* Between the steps that the library does not ask in. */
static int check_stop(ms_answerer *a, msim_error *err) {
    return should_stop(a) ? ms_fail(err, MSIM_E_STOPPED, "stopped") : MSIM_OK;
}

int ms_answerer_open(const ms_serve_stock *stock, int threads, const atomic_bool *stops,
                     ms_answerer **out, msim_error *err) {
    ms_answerer *a = ms_alloc(1, sizeof *a, "a worker", err);
    *out = NULL;
    if (!a) return -MSIM_E_MEMORY;
    a->open = (ms_handles){.stock = stock, .threads = threads, .stop = {should_stop, a}};
    a->stops = stops;
    *out = a;
    return MSIM_OK;
}

void ms_answerer_close(ms_answerer *a) {
    if (!a) return;
    ms_handles_close(&a->open);
    ms_free(a);
}

static int open_report(run *r, msim_error *err) {
    const ms_serve_stock *s = r->a->open.stock;
    msim_report_options o = msim_report_options_default();
    o.roots = s->roots;
    o.n_roots = s->n_roots;
    o.notes = s->notes;
    return msim_report_open(&o, &r->report, err);
}

/* ---- Pieces of the report ---- */

static void stage(run *r, int stage_now) { atomic_store(&r->task->stage, stage_now); }

/* A piece by its name, and where it is: its number in the report. */
static int64_t add_piece(run *r, const char *name, size_t n, ms_ask_piece where, msim_error *err) {
    const int64_t piece = msim_report_add_piece(r->report, name, n, NULL, err);
    if (piece < 0) return piece;
    int rc =
        ms_grow((void **)&r->ids, &r->ids_cap, (size_t)piece + 1, sizeof *r->ids, "pieces", err);
    if (rc < 0) return rc;
    while (r->n_ids <= (size_t)piece) r->ids[r->n_ids++] = (ms_ask_piece){0};
    if (!r->ids[piece].kind) r->ids[piece] = where;
    return piece;
}

static int64_t read_name(run *r, int64_t row, msim_error *err) {
    const msim_corpus *corpus = r->a->open.stock->corpus;
    int64_t n = msim_corpus_name(corpus, row, r->name, r->name_cap);
    if (n < 0) return ms_fail(err, (int)-n, "a row without a name: %lld", (long long)row);
    if ((size_t)n < r->name_cap) return n;
    int rc = ms_grow((void **)&r->name, &r->name_cap, (size_t)n + 1, 1, "a row's name", err);
    return rc < 0 ? rc : msim_corpus_name(corpus, row, r->name, r->name_cap);
}

static int64_t add_row(run *r, int64_t row, msim_error *err) {
    const int64_t n = read_name(r, row, err);
    return n < 0 ? n : add_piece(r, r->name, (size_t)n, (ms_ask_piece){'r', row}, err);
}

static int64_t add_indexed(run *r, int64_t number, msim_error *err) {
    msim_notes_piece piece = {.size = sizeof piece};
    if (msim_notes_get_piece(r->a->open.stock->notes, number, &piece) < 0)
        return ms_fail(err, MSIM_E_FORMAT, "the note index is damaged: build it again");
    return add_piece(r, piece.name, piece.name_bytes, (ms_ask_piece){'n', number}, err);
}

static bool is_there(const ms_serve_stock *s, ms_ask_piece piece) {
    if (piece.kind == 'r') return s->corpus && piece.number < s->info.rows;
    return s->notes && piece.number < s->n_pieces;
}

/* ---- The query ---- */

static int check_size(const msim_piece_notes *notes, msim_error *err) {
    if (notes->n_notes > MS_ASK_MAX_NOTES)
        return ms_fail(err, MSIM_E_LIMIT,
                       "a query has at most %d notes here, and this one has %zu: midisim-find and "
                       "midisim-search take more",
                       MS_ASK_MAX_NOTES, notes->n_notes);
    if (notes->n_bars > MS_ASK_MAX_NOTES)
        return ms_fail(err, MSIM_E_LIMIT, "a query has at most %d bars here, and this one has %zu",
                       MS_ASK_MAX_NOTES, notes->n_bars);
    return MSIM_OK;
}

/* Drums count too: the report shows them. */
static int check_midi(run *r, msim_error *err) {
    msim_piece_notes notes = {.size = sizeof notes};
    int rc = ms_handles_reader(&r->a->open, err);
    if (rc < 0) return rc;
    msim_note_reader_keep_drums(r->a->open.reader, 1);
    rc = msim_note_reader_read(r->a->open.reader, r->ask->bytes, r->ask->n_bytes, &notes, err);
    msim_note_reader_keep_drums(r->a->open.reader, 0);
    return rc < 0 ? rc : check_size(&notes, err);
}

static int take_midi(run *r, msim_error *err) {
    const ms_ask *ask = r->ask;
    msim_piece_notes notes = {.size = sizeof notes};
    const char *name = ask->name[0] ? ask->name : "your file";
    int rc = check_midi(r, err);
    if (rc < 0) return rc;
    const int64_t piece =
        msim_report_add_midi(r->report, name, strlen(name), ask->bytes, ask->n_bytes, err);
    if (piece < 0) return (int)piece;
    r->query = msim_report_add_query(r->report, piece, -1, -1, err);
    if (r->query < 0) return (int)r->query;
    rc = msim_note_reader_read(r->a->open.reader, ask->bytes, ask->n_bytes, &notes, err);
    if (rc < 0) return rc;
    r->has_notes = true;
    return ms_asked_take(name, strlen(name), &notes, &r->asked, err);
}

static int take_phrase(run *r, msim_error *err) {
    static const msim_voice piano = {.name = ""};
    const char *text = (const char *)r->ask->bytes, *name = r->ask->name[0] ? r->ask->name : text;
    const int64_t n = msim_notes_parse(text, NULL, 0, err);
    if (n < 0) return (int)n;
    msim_note *notes = ms_alloc((size_t)n, sizeof *notes, "notes", err);
    if (!notes) return -MSIM_E_MEMORY;
    (void)msim_notes_parse(text, notes, (size_t)n, err);
    const msim_piece_notes phrase = {.size = sizeof phrase,
                                     .notes = notes,
                                     .n_notes = (size_t)n,
                                     .voices = &piano,
                                     .n_voices = 1};
    const int64_t piece = msim_report_add_notes(r->report, name, strlen(name), &phrase, err);
    r->query = piece < 0 ? piece : msim_report_add_query(r->report, piece, -1, -1, err);
    r->has_notes = true;
    int rc = r->query < 0 ? (int)r->query
                          : ms_asked_take(name, strlen(name), &phrase, &r->asked, err);
    ms_free(notes);
    return rc;
}

/* The notes of a piece of the index, by its name. */
static int load_notes(run *r, const char *name, size_t n, msim_error *err) {
    const msim_notes *index = r->a->open.stock->notes;
    msim_piece_notes notes = {.size = sizeof notes};
    msim_loaded_piece *loaded = NULL;
    const int64_t number = index ? msim_notes_find_piece(index, name, n) : -1;
    if (number < 0) return MSIM_OK;
    int rc = msim_notes_load_piece(index, number, &loaded, &notes, err);
    if (rc >= 0) rc = ms_asked_take(name, n, &notes, &r->asked, err);
    msim_notes_free_piece(loaded);
    r->has_notes = rc >= 0;
    return rc;
}

static int take_piece(run *r, msim_error *err) {
    const ms_ask_piece where = r->ask->piece;
    msim_notes_piece known = {.size = sizeof known};
    int64_t piece;
    if (!is_there(r->a->open.stock, where))
        return ms_fail(err, MSIM_E_ARG, "no piece %c%lld", where.kind, (long long)where.number);
    if (where.kind == 'r')
        piece = add_row(r, where.number, err);
    else
        piece = add_indexed(r, where.number, err);
    if (piece < 0 || r->ask->kind == MS_ASK_SHOW) return piece < 0 ? (int)piece : MSIM_OK;
    r->query = msim_report_add_query(r->report, piece, -1, -1, err);
    if (r->query < 0) return (int)r->query;
    if (where.kind == 'r') return load_notes(r, r->name, strlen(r->name), err);
    (void)msim_notes_get_piece(r->a->open.stock->notes, where.number, &known);
    return load_notes(r, known.name, known.name_bytes, err);
}

static int take_query(run *r, msim_error *err) {
    stage(r, MS_TASK_READING);
    if (r->ask->kind == MS_ASK_MIDI) return take_midi(r, err);
    return r->ask->kind == MS_ASK_PHRASE ? take_phrase(r, err) : take_piece(r, err);
}

/* ---- Finding, and comparing ---- */

static int find(run *r, msim_error *err) {
    if (!r->a->open.stock->notes || !r->has_notes || r->ask->mode == MS_ASK_LIKENESS)
        return MSIM_OK;
    stage(r, MS_TASK_FINDING);
    msim_finder *finder;
    int rc = ms_handles_finder(&r->a->open, r->ask, &finder, err);
    if (rc < 0) return rc;
    ms_asked_answer(&r->asked, finder);
    return r->asked.err.code ? ms_fail(err, r->asked.err.code, "%s", r->asked.err.text) : MSIM_OK;
}

static int keep_rows(run *r, const msim_answer *answer, msim_error *err) {
    const int64_t n = answer->n_matches < r->ask->k ? answer->n_matches : r->ask->k;
    const bool has_meaning = msim_searcher_has_meaning(r->a->open.searcher) == 1;
    r->rows = ms_alloc((size_t)n, sizeof *r->rows, "matches", err);
    r->spans = ms_alloc((size_t)n, sizeof *r->spans, "matches", err);
    r->meanings = ms_alloc((size_t)n, sizeof *r->meanings, "matches", err);
    if (!r->rows || !r->spans || !r->meanings) return -MSIM_E_MEMORY;
    for (int64_t i = 0; i < n; i++) {
        r->rows[i] = answer->matches[i];
        r->spans[i] = (msim_span){.from_seconds = -1, .to_seconds = -1};
        if (answer->query_spans) r->spans[i] = answer->query_spans[i];
        r->meanings[i] = (msim_meaning){.size = sizeof r->meanings[i], .matches = -1};
        if (has_meaning)
            (void)msim_searcher_explain(r->a->open.searcher, answer, i, &r->meanings[i]);
    }
    r->n_rows = n;
    return MSIM_OK;
}

typedef struct {
    run *r;
    msim_error *err;
    int rc;
} receiving;

static int receive(void *user, const msim_answer *answer) {
    receiving *to = user;
    to->rc = keep_rows(to->r, answer, to->err);
    return to->rc < 0;
}

/* Typed notes as a MIDI file. */
static int64_t add_phrase(run *r, msim_error *err) {
    const ms_asked *q = &r->asked;
    const msim_piece_notes notes = {.size = sizeof notes,
                                    .notes = q->notes,
                                    .n_notes = q->n_notes,
                                    .voices = q->voices,
                                    .n_voices = q->n_voices};
    int64_t n = msim_midi_write_notes(&notes, 0, NULL, 0, err);
    unsigned char *bytes = n < 0 ? NULL : ms_alloc((size_t)n, 1, "a MIDI file", err);
    if (!bytes) return n < 0 ? n : -MSIM_E_MEMORY;
    n = msim_midi_write_notes(&notes, 0, bytes, (size_t)n, err);
    if (n >= 0) n = msim_searcher_add_midi(r->a->open.searcher, bytes, (size_t)n, err);
    ms_free(bytes);
    return n;
}

static int64_t add_vectors(run *r, msim_error *err) {
    const ms_ask *ask = r->ask;
    if (ask->kind == MS_ASK_MIDI)
        return msim_searcher_add_midi(r->a->open.searcher, ask->bytes, ask->n_bytes, err);
    if (ask->kind == MS_ASK_PHRASE) return add_phrase(r, err);
    if (ask->piece.kind == 'r')
        return msim_searcher_add_row(r->a->open.searcher, ask->piece.number, err);
    return ms_fail(err, MSIM_E_EMPTY, "a piece of the note index has no vector");
}

static int compare(run *r, msim_error *err) {
    const ms_serve_stock *s = r->a->open.stock;
    receiving to = {r, err, 0};
    const bool needs_model = r->ask->kind != MS_ASK_PIECE;
    if (!s->corpus || (needs_model && !s->model) || r->ask->mode == MS_ASK_FIND) return MSIM_OK;
    stage(r, MS_TASK_EMBEDDING);
    int64_t rc = ms_handles_searcher(&r->a->open, r->ask, err);
    if (rc >= 0) rc = add_vectors(r, err);
    if ((rc == -MSIM_E_FORMAT || rc == -MSIM_E_EMPTY) && r->ask->mode == MS_ASK_BOTH) {
        snprintf(r->notice, sizeof r->notice, "vectors were not compared: %.300s", err->text);
        return MSIM_OK;
    }
    if (rc < 0) return (int)rc;
    stage(r, MS_TASK_COMPARING);
    rc = msim_searcher_run(r->a->open.searcher, receive, &to, err);
    if (to.rc < 0) return to.rc;
    return rc < 0 ? (int)rc : MSIM_OK;
}

/* ---- The report of both ---- */

static void put_likeness(const run *r, int64_t i, msim_report_match *out) {
    const msim_match *m = &r->rows[i];
    out->has_score = 1;
    out->score = m->score;
    out->transpose = m->transpose;
    out->from = m->from_seconds;
    out->to = m->to_seconds;
    out->query_from = r->spans[i].from_seconds;
    out->query_to = r->spans[i].to_seconds;
    out->likeness = r->meanings[i].likeness;
    out->chance = r->meanings[i].matches;
}

/* pieces [n_rows]: the numbers of the rows in the report. A row that was shown becomes -1. */
static int show_found(run *r, int64_t *pieces, msim_error *err) {
    for (int64_t f = 0; f < r->asked.n_matches && f < r->ask->k; f++) {
        msim_report_match match = msim_report_match_default();
        if (check_stop(r->a, err) < 0) return -MSIM_E_STOPPED;
        match.notes = &r->asked.matches[f];
        match.piece = add_indexed(r, match.notes->piece, err);
        if (match.piece < 0) return (int)match.piece;
        int64_t i = 0;
        while (i < r->n_rows && pieces[i] != match.piece) i++;
        if (i < r->n_rows) {
            put_likeness(r, i, &match);
            pieces[i] = -1;
        }
        const int64_t rc = msim_report_add_match(r->report, r->query, &match, err);
        if (rc < 0) return (int)rc;
    }
    return MSIM_OK;
}

static int show_alike(run *r, const int64_t *pieces, msim_error *err) {
    for (int64_t i = 0; i < r->n_rows; i++) {
        msim_report_match match = msim_report_match_default();
        if (pieces[i] < 0) continue;
        if (check_stop(r->a, err) < 0) return -MSIM_E_STOPPED;
        match.piece = pieces[i];
        put_likeness(r, i, &match);
        const int64_t rc = msim_report_add_match(r->report, r->query, &match, err);
        if (rc < 0) return (int)rc;
    }
    return MSIM_OK;
}

static int show(run *r, msim_error *err) {
    stage(r, MS_TASK_WRITING);
    int64_t *pieces = ms_alloc((size_t)r->n_rows, sizeof *pieces, "matches", err);
    int rc = pieces ? MSIM_OK : -MSIM_E_MEMORY;
    for (int64_t i = 0; i < r->n_rows && rc >= 0; i++) {
        pieces[i] = add_row(r, r->rows[i].row, err);
        if (pieces[i] < 0) rc = (int)pieces[i];
    }
    if (rc >= 0) rc = show_found(r, pieces, err);
    if (rc >= 0) rc = show_alike(r, pieces, err);
    ms_free(pieces);
    return rc;
}

/* ---- JSON ---- */

static int put_bytes(void *user, const void *bytes, size_t n) {
    ms_json_put(user, bytes, n);
    return 0;
}

static void put_text(ms_json_text *out, const char *text) { ms_json_put(out, text, strlen(text)); }

static int put_answer(run *r, ms_json_text *out, msim_error *err) {
    msim_report_info info = {.size = sizeof info};
    char id[32];
    (void)msim_report_get_info(r->report, &info);
    put_text(out, "{\"ids\":[");
    for (size_t i = 0; i < (size_t)info.pieces; i++) {
        const ms_ask_piece where = i < r->n_ids ? r->ids[i] : (ms_ask_piece){0};
        snprintf(id, sizeof id, "\"%c%lld\"", where.kind ? where.kind : '-',
                 (long long)where.number);
        if (i) put_text(out, ",");
        put_text(out, where.kind ? id : "null");
    }
    put_text(out, "],\"notice\":");
    ms_json_put_string(out, r->notice, strlen(r->notice));
    put_text(out, ",\"report\":");
    int rc = msim_report_write_json(r->report, put_bytes, out, err);
    put_text(out, "}");
    return rc < 0 ? rc : ms_json_text_failed(out, err);
}

/* ---- The whole ---- */

static int check_mode(const run *r, msim_error *err) {
    const ms_serve_stock *s = r->a->open.stock;
    if (r->ask->kind == MS_ASK_SHOW) return MSIM_OK;
    if (r->ask->mode == MS_ASK_FIND && !s->notes)
        return ms_fail(err, MSIM_E_ARG, "mode: this server has no note index");
    if (r->ask->mode == MS_ASK_LIKENESS && !s->corpus)
        return ms_fail(err, MSIM_E_ARG, "mode: this server has no vectors");
    if (r->ask->mode == MS_ASK_LIKENESS && !s->model && r->ask->kind != MS_ASK_PIECE)
        return ms_fail(err, MSIM_E_ARG, "mode: this server has no model");
    return MSIM_OK;
}

static int answer(run *r, msim_error *err) {
    int rc = check_mode(r, err);
    if (rc >= 0) rc = open_report(r, err);
    if (rc >= 0) rc = take_query(r, err);
    if (rc >= 0) rc = check_stop(r->a, err);
    if (rc >= 0 && r->ask->kind != MS_ASK_SHOW) {
        rc = find(r, err);
        if (rc >= 0) rc = compare(r, err);
        if (rc >= 0) rc = show(r, err);
    }
    return rc < 0 ? rc : put_answer(r, &r->task->body, err);
}

/* What a status of the library is for a client. */
static int status_of(const ms_task *task, int rc) {
    if (rc == -MSIM_E_ARG) return task->ask.kind == MS_ASK_SHOW ? 404 : 400;
    if (rc == -MSIM_E_FORMAT || rc == -MSIM_E_EMPTY || rc == -MSIM_E_LIMIT) return 422;
    return rc == -MSIM_E_STOPPED || rc == -MSIM_E_MEMORY ? 503 : 500;
}

void ms_answerer_run(ms_answerer *a, ms_task *task) {
    run r = {.a = a, .task = task, .ask = &task->ask};
    msim_error err = {0};
    a->task = task;
    a->ends = ms_clock_now() + (double)a->open.stock->set->max_seconds;
    atomic_store(&a->looked, 0);
    atomic_store(&a->is_late, false);
    const int rc = answer(&r, &err);
    if (rc == -MSIM_E_STOPPED && atomic_load(&a->is_late))
        ms_task_fail(task, 422,
                     "the search took more than %lld s and was ended: ask for a shorter piece or "
                     "fewer keys, or start the server with --max-seconds",
                     (long long)a->open.stock->set->max_seconds);
    else if (rc < 0)
        ms_task_fail(task, status_of(task, rc), "%s", err.text);
    else
        task->status = 200;
    msim_report_close(r.report);
    ms_handles_give_back(&a->open, r.ask, r.asked.n_notes);
    ms_asked_free(&r.asked);
    ms_free(r.ids);
    ms_free(r.name);
    ms_free(r.rows);
    ms_free(r.spans);
    ms_free(r.meanings);
}
