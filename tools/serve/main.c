/* midisim-serve: a page and a JSON API on this machine. */
#define _GNU_SOURCE
#include "http.h"
#include <stdio.h>
#include <time.h>

static void wait_ms(long ms) {
    const struct timespec t = {.tv_sec = 0, .tv_nsec = ms * 1000000};
    nanosleep(&t, NULL); /* a signal ends it early */
}

/* The address, on standard output: a program that started this one can read it. */
static int say_address(const ms_guard *g, msim_error *err) {
    int rc = g->token[0] ? ms_cli_print("http://%s:%d/#token=%s\n", g->address, g->port, g->token)
                         : ms_cli_print("http://%s:%d/\n", g->address, g->port);
    if (rc == 0) rc = ms_cli_flush();
    return rc == 0 ? 0 : ms_fail(err, MSIM_E_IO, "cannot say the address");
}

static void say_stock(const ms_serve_stock *s) {
    char rows[32], pieces[32];
    if (s->corpus && s->notes)
        ms_cli_note("serving %s rows and the notes of %s pieces; Ctrl-C ends it",
                    ms_cli_count(rows, s->info.rows), ms_cli_count(pieces, s->n_pieces));
    else if (s->corpus)
        ms_cli_note("serving %s rows; Ctrl-C ends it", ms_cli_count(rows, s->info.rows));
    else
        ms_cli_note("serving the notes of %s pieces; Ctrl-C ends it",
                    ms_cli_count(pieces, s->n_pieces));
}

static int serve(const ms_serve_stock *stock, msim_error *err) {
    ms_tasks *tasks = NULL;
    ms_http *http = NULL;
    ms_guard guard;
    int rc = ms_tasks_open(stock, &tasks, err);
    if (rc >= 0) rc = ms_http_open(stock, tasks, &guard, &http, err);
    if (rc >= 0) rc = say_address(&guard, err);
    if (rc >= 0) say_stock(stock);
    while (rc >= 0 && !ms_cli_stopped()) {
        ms_http_tick(http);
        wait_ms(100);
    }
    if (http) ms_http_quiesce(http);
    if (tasks) ms_tasks_stop(tasks);
    if (http) wait_ms(50); /* the last answers leave */
    ms_http_close(http);
    ms_tasks_close(tasks);
    return rc;
}

int main(int argc, char **argv) {
    static ms_serve_settings s = {
        .port = 8117, .queue = 64, .max_body = 8, .max_seconds = 120, .evalue = 1e-3};
    ms_serve_stock stock = {0};
    msim_error err = {0};
    int rc = ms_cli_parse(&ms_serve_tool, argc, argv, &s);
    if (rc == 0) rc = ms_serve_check(&s);
    if (rc != 0) return ms_cli_finish(rc);
    ms_cli_catch_signals();
    rc = ms_serve_stock_open(&s, &stock, &err);
    if (rc >= 0) rc = serve(&stock, &err);
    if (rc < 0) ms_cli_error("%s", err.text);
    ms_serve_stock_close(&stock);
    return ms_cli_finish(rc);
}
