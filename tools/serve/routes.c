/* Contract: tools/serve/routes.h. */
#define _GNU_SOURCE
#include "routes.h"
#include "assets.h"
#include "base/mem.h"
#include <stdio.h>
#include <string.h>

#define POLICY                                                                              \
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src " \
    "data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
#define API "/api/"
#define SEARCH "/api/search"
#define FIND "/api/find"
#define ONE_SEARCH "/api/search/"
#define ONE_PIECE "/api/piece/"
#define MIB ((size_t)1 << 20)
/* Typed notes: tens of thousands of them. */
enum { MAX_JSON_BYTES = 1 << 18, N_OPTIONS = 5 };

/* ---- Answers ---- */

static const char *const headers[][2] = {{"Content-Security-Policy", POLICY},
                                         {"X-Content-Type-Options", "nosniff"},
                                         {"X-Frame-Options", "DENY"},
                                         {"Referrer-Policy", "no-referrer"},
                                         {"Cross-Origin-Resource-Policy", "same-origin"},
                                         {"Cross-Origin-Opener-Policy", "same-origin"},
                                         {"Cache-Control", "no-store"}};

/* Queue a response, which this takes. more: one more header, NULL: none. */
static enum MHD_Result queue(ms_request *r, int status, struct MHD_Response *response,
                             const char *type, const char *more, const char *value) {
    enum MHD_Result result = response ? MHD_YES : MHD_NO;
    for (size_t i = 0; i < sizeof headers / sizeof *headers && result == MHD_YES; i++)
        result = MHD_add_response_header(response, headers[i][0], headers[i][1]);
    if (result == MHD_YES) result = MHD_add_response_header(response, "Content-Type", type);
    if (result == MHD_YES && more) result = MHD_add_response_header(response, more, value);
    if (result == MHD_YES) result = MHD_queue_response(r->connection, (unsigned)status, response);
    if (response) MHD_destroy_response(response);
    return result;
}

/* The text becomes the response's. */
static enum MHD_Result queue_json(ms_request *r, int status, ms_json_text *text, const char *more,
                                  const char *value) {
    if (text->is_failed) { /* the connection is closed */
        ms_json_text_free(text);
        return MHD_NO;
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback(text->n, text->data, ms_free);
    if (!response) ms_json_text_free(text);
    *text = (ms_json_text){0};
    return queue(r, status, response, "application/json", more, value);
}

static enum MHD_Result fail_with(ms_request *r, int status, const char *text, const char *more,
                                 const char *value) {
    ms_json_text json = {0};
    ms_json_put(&json, "{\"error\":", 9);
    ms_json_put_string(&json, text, strlen(text));
    ms_json_put(&json, "}", 1);
    return queue_json(r, status, &json, more, value);
}

static enum MHD_Result fail(ms_request *r, int status, const char *text) {
    return fail_with(r, status, text, NULL, NULL);
}

static enum MHD_Result fail_full(ms_request *r) {
    return fail_with(r, 503, "too many bodies and answers are on their way", "Retry-After", "1");
}

/* ---- Before the body ---- */

static const char *header(const ms_request *r, const char *name) {
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

static bool begins(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

static bool is_header(const ms_request *r, const char *name, const char *value) {
    const char *given = header(r, name);
    return given && strcmp(given, value) == 0;
}

/* A link on a page of another site opens this page. The other page learns nothing of it. */
static bool is_opened_by_link(const ms_request *r) {
    return strcmp(r->path, "/") == 0 && strcmp(r->method, "GET") == 0 &&
           is_header(r, "Sec-Fetch-Mode", "navigate") && is_header(r, "Sec-Fetch-Dest", "document");
}

static bool is_search(const ms_request *r) {
    return strcmp(r->path, SEARCH) == 0 || strcmp(r->path, FIND) == 0;
}

/* The methods of a path; NULL: there is nothing. */
static const char *methods_of(const char *path) {
    if (strcmp(path, SEARCH) == 0 || strcmp(path, FIND) == 0) return "POST";
    if (strcmp(path, "/api/status") == 0 || ms_serve_asset_find(path)) return "GET, HEAD";
    if (begins(path, ONE_SEARCH) && ms_ask_is_id(path + strlen(ONE_SEARCH)))
        return "GET, HEAD, DELETE";
    ms_ask_piece piece;
    if (begins(path, ONE_PIECE) && ms_ask_read_piece(path + strlen(ONE_PIECE), &piece))
        return "GET, HEAD";
    return NULL;
}

static bool is_in(const char *list, const char *method) {
    const char *at = strstr(list, method);
    const size_t n = strlen(method);
    return n > 2 && at && (at[n] == 0 || at[n] == ',') && (at == list || at[-1] == ' ');
}

static size_t most_bytes(const ms_request *r) {
    const char *type = header(r, "Content-Type");
    if (strcmp(r->method, "POST") != 0) return 0;
    return type && begins(type, "application/json") ? MAX_JSON_BYTES
                                                    : (size_t)r->stock->set->max_body * MIB;
}

/* ---- Options in the address ---- */

static const char *const option_names[N_OPTIONS] = {"k", "keys", "name", "id", "mode"};

typedef struct {
    const ms_request *r;
    char *text; /* what is wrong; "": nothing */
    size_t cap;
    unsigned seen;
} option_check;

/* A misspelt option would go unseen, and of two values one. */
static enum MHD_Result check_option(void *user, enum MHD_ValueKind kind, const char *key,
                                    const char *value) {
    option_check *to = user;
    size_t i = 0;
    (void)kind;
    if (!*key && !value) return MHD_YES; /* "?", "&&" */
    while (i < N_OPTIONS && strcmp(key, option_names[i]) != 0) i++;
    if (i == N_OPTIONS || !is_search(to->r) ||
        (strcmp(key, "mode") == 0 && strcmp(to->r->path, FIND) == 0))
        snprintf(to->text, to->cap, "%.40s: not an option of this path", key);
    else if (to->seen >> i & 1)
        snprintf(to->text, to->cap, "%s: given twice", key);
    to->seen |= i < N_OPTIONS ? 1u << i : 0;
    return to->text[0] ? MHD_NO : MHD_YES;
}

static bool check_options(const ms_request *r, char *text, size_t cap) {
    option_check to = {.r = r, .text = text, .cap = cap};
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, check_option, &to);
    return !text[0];
}

/* ---- Before the body, the whole ---- */

/* Whether the announced body, if any, is too large. */
static bool is_too_large(const ms_request *r) {
    const char *length = header(r, "Content-Length");
    int64_t announced = 0;
    return length &&
           (!ms_cli_int(length, 0, INT64_MAX, &announced) || (size_t)announced > r->body_cap);
}

bool ms_routes_refuse(ms_request *r, enum MHD_Result *result) {
    const char *site = is_opened_by_link(r) ? NULL : header(r, "Sec-Fetch-Site");
    const char *why = ms_guard_refuses(r->guard, header(r, "Host"), header(r, "Origin"), site);
    const char *methods = methods_of(r->path);
    char text[200] = "";
    r->body_cap = most_bytes(r);
    if (why)
        *result = fail(r, 403, why);
    else if (r->has_nul)
        *result = fail(r, 400, "the address has a NUL character: %00");
    else if (!methods)
        *result =
            fail(r, 404, "there is nothing at this path: /api/openapi.json says what is where");
    else if (!is_in(methods, r->method))
        *result = fail_with(r, 405, "not a method of this path", "Allow", methods);
    else if (begins(r->path, API) && !ms_guard_has_token(r->guard, header(r, "Authorization")))
        *result = fail_with(r, 401, "expected the token that the server printed",
                            "WWW-Authenticate", "Bearer");
    else if (begins(r->path, API) && !check_options(r, text, sizeof text))
        *result = fail(r, 400, text);
    else if (is_too_large(r))
        *result = fail(r, 413, "the body is larger than this server takes");
    else if (r->is_full && r->body_cap)
        *result = fail_full(r);
    else
        return false;
    return true;
}

/* ---- Searches ---- */

static void sleep_until_done(void *user) {
    const ms_request *r = user;
    atomic_store(r->is_busy, true);
    MHD_suspend_connection(r->connection);
}

static void wake(void *user) {
    const ms_request *r = user;
    MHD_resume_connection(r->connection);
}

typedef struct {
    ms_ask *ask;
    int rc;
    msim_error err;
} option_reading;

static enum MHD_Result read_option(void *user, enum MHD_ValueKind kind, const char *key,
                                   const char *value) {
    option_reading *to = user;
    (void)kind;
    if (*key) to->rc = ms_ask_option(to->ask, key, value ? value : "", &to->err);
    return to->rc < 0 ? MHD_NO : MHD_YES;
}

static int read_ask(ms_request *r, ms_ask *ask, msim_error *err) {
    option_reading to = {.ask = ask};
    ms_ask_piece piece;
    *ask = (ms_ask){.k = 16};
    if (begins(r->path, ONE_PIECE)) {
        ask->kind = MS_ASK_SHOW;
        (void)ms_ask_read_piece(r->path + strlen(ONE_PIECE), &piece);
        ask->piece = piece;
        return MSIM_OK;
    }
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, read_option, &to);
    if (to.rc < 0) return ms_fail(err, -to.rc, "%s", to.err.text);
    if (strcmp(r->path, FIND) == 0) ask->mode = MS_ASK_FIND;
    return ms_ask_body(ask, header(r, "Content-Type"), &r->body, r->n_body, err);
}

static enum MHD_Result begin_task(ms_request *r) {
    msim_error err = {0};
    if (r->is_full) return fail_full(r);
    ms_task *task = ms_alloc(1, sizeof *task, "a search", &err);
    if (!task) return fail(r, 503, "out of memory");
    const int rc = read_ask(r, &task->ask, &err);
    if (rc < 0) {
        ms_task_free(task);
        return fail(r,
                    rc == -MSIM_E_UNSUPPORTED ? 415
                    : rc == -MSIM_E_MEMORY    ? 503
                                              : 400,
                    err.text);
    }
    task->fd = r->fd;
    task->wake = wake;
    task->user = r;
    r->task = task;
    const int added = ms_tasks_add(r->tasks, task, sleep_until_done);
    if (added == MS_TASKS_ADDED) return MHD_YES;
    ms_task_free(task);
    r->task = NULL;
    if (added == MS_TASKS_TAKEN) return fail(r, 409, "id: a search of this id runs already");
    return fail_with(r, 503, "too many searches wait", "Retry-After", "1");
}

enum MHD_Result ms_routes_end(ms_request *r) {
    atomic_store(r->is_busy, false);
    return queue_json(r, r->task->status, &r->task->body,
                      r->task->status == 503 ? "Retry-After" : NULL, "1");
}

/* ---- What needs no search ---- */

static enum MHD_Result one_search(ms_request *r) {
    const char *id = r->path + strlen(ONE_SEARCH);
    ms_json_text text = {0};
    if (strcmp(r->method, "DELETE") == 0) {
        if (!ms_tasks_cancel(r->tasks, id))
            return fail(r, 404, "no search of this id waits or runs");
        ms_json_put(&text, "{\"cancelled\":true}", 18);
    } else if (!ms_tasks_describe(r->tasks, id, &text)) {
        return fail(r, 404, "no search of this id waits or runs");
    }
    return queue_json(r, 200, &text, NULL, NULL);
}

/* The last part of what the command line names: "music" of "../music/". */
static void put_name(ms_json_text *text, const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    size_t first = n;
    while (first > 0 && path[first - 1] != '/') first--;
    ms_json_put_string(text, path + first, n - first);
}

static enum MHD_Result show_status(ms_request *r) {
    const ms_serve_stock *s = r->stock;
    const ms_tasks_counts c = ms_tasks_count(r->tasks);
    ms_json_text text = {0};
    char line[512];
    const int n = snprintf(
        line, sizeof line,
        ",\"version\":\"" MSIM_VERSION
        "\",\"rows\":%lld,\"pieces\":%lld,\"hasNotes\":%s,\"hasVectors\":%s,\"hasModel\":%s,"
        "\"workers\":%lld,\"running\":%lld,\"waiting\":%lld,\"answered\":%lld,\"refused\":%lld,"
        "\"cancelled\":%lld}",
        (long long)(s->corpus ? s->info.rows : 0), (long long)s->n_pieces,
        s->notes ? "true" : "false", s->corpus ? "true" : "false", s->model ? "true" : "false",
        (long long)c.workers, (long long)c.running, (long long)c.waiting, (long long)c.answered,
        (long long)c.refused, (long long)c.cancelled);
    ms_json_put(&text, "{\"name\":", 8);
    put_name(&text, s->set->common.operands.items[0]);
    ms_json_put(&text, line, (size_t)n);
    return queue_json(r, 200, &text, NULL, NULL);
}

enum MHD_Result ms_routes_answer(ms_request *r) {
    const ms_serve_asset *asset = ms_serve_asset_find(r->path);
    if (asset)
        return queue(r, 200,
                     MHD_create_response_from_buffer((size_t)(asset->end - asset->bytes),
                                                     (void *)(uintptr_t)asset->bytes,
                                                     MHD_RESPMEM_PERSISTENT),
                     asset->type, NULL, NULL);
    if (strcmp(r->path, "/api/status") == 0) return show_status(r);
    if (begins(r->path, ONE_SEARCH)) return one_search(r);
    return begin_task(r);
}
