/* Contract: tools/common/notes/agreed.h. */
#include "common/notes/agreed.h"
#include "common/texts/place.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Bar and beat of a time. */
static void find_bar(const msim_bar *bars, size_t n, double seconds, int64_t *bar, double *beat) {
    size_t low = 0, high = n; /* bars[low] begins at or before the time */
    const double ms = seconds * 1000 + 0.5;
    *bar = 0;
    *beat = 0;
    if (n == 0 || ms < bars[0].start_ms) return;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (bars[middle].start_ms <= ms)
            low = middle;
        else
            high = middle;
    }
    *bar = (int64_t)low + 1;
    const size_t like = low + 1 < n ? low : low > 0 ? low - 1 : low; /* the last bar's length */
    const double length = like + 1 < n ? bars[like + 1].start_ms - (double)bars[like].start_ms : 0;
    if (length > 0) *beat = 1 + (seconds * 1000 - bars[low].start_ms) / length * bars[low].beats;
    if (*beat < 1) *beat = 1;
}

/* Both ends of a passage. */
static ms_agreed_bars find_bars(const msim_bar *bars, size_t n, double from, double to) {
    ms_agreed_bars b;
    double beat;
    find_bar(bars, n, from, &b.from_bar, &b.beat);
    find_bar(bars, n, to, &b.to_bar, &beat);
    return b;
}

int ms_agreed_load(const msim_notes *notes, const ms_asked *q, int64_t i, ms_agreed *s,
                   msim_error *err) {
    const msim_place *place = &q->matches[i].place;
    *s = (ms_agreed){.match = &q->matches[i],
                     .piece = {.size = sizeof s->piece},
                     .notes = {.size = sizeof s->notes}};
    if (msim_notes_get_piece(notes, s->match->piece, &s->piece) < 0)
        return ms_fail(err, MSIM_E_FORMAT, "the index is damaged: build it again");
    int rc = msim_notes_load_piece(notes, s->match->piece, &s->loaded, &s->notes, err);
    if (rc < 0) return rc;
    s->in_match = find_bars(s->notes.bars, s->notes.n_bars, place->from, place->to);
    s->in_query = find_bars(q->bars, q->n_bars, place->query_from, place->query_to);
    return 0;
}

void ms_agreed_free(ms_agreed *s) {
    msim_notes_free_piece(s->loaded);
    s->loaded = NULL;
}

static const msim_voice *voice_of(const ms_agreed *s) {
    const size_t v = (size_t)s->match->voice;
    return v < s->notes.n_voices ? &s->notes.voices[v] : NULL;
}

/* ---- TSV ---- */

int ms_agreed_print_notes(const ms_agreed *s) {
    const msim_note_match *m = s->match;
    return ms_cli_print("%lld\t%lld\t%lld\t%.3f", (long long)m->n_matched, (long long)m->of_query,
                        (long long)m->of_piece, m->identity);
}

int ms_agreed_print_place(const ms_agreed *s) {
    const msim_note_match *m = s->match;
    const msim_voice *voice = voice_of(s);
    char query_bar[MS_PLACE_CHARS], bar[MS_PLACE_CHARS];
    ms_place_bar(query_bar, s->in_query.from_bar, s->in_query.beat);
    ms_place_bar(bar, s->in_match.from_bar, s->in_match.beat);
    return ms_cli_print("%.3f\t%.3f\t%.3f\t%s\t%.3f\t%.3f\t%s\t%d\t%d\t%lld", m->tempo,
                        m->place.query_from, m->place.query_to, query_bar, m->place.from,
                        m->place.to, bar, voice ? voice->track + 1 : 0,
                        voice ? voice->channel + 1 : 0, (long long)m->n_others);
}

/* ---- JSON ---- */

static void put(ms_json_text *line, const char *text) { ms_json_put(line, text, strlen(text)); }

static void put_where(ms_json_text *line, const ms_agreed *s) {
    const msim_note_match *m = s->match;
    const msim_voice *voice = voice_of(s);
    char text[400];
    snprintf(text, sizeof text,
             ",\"query_from\":%.3f,\"query_to\":%.3f,\"from\":%.3f,\"to\":%.3f,\"query_bar\":%lld,"
             "\"query_beat\":%.2f,\"query_to_bar\":%lld,\"bar\":%lld,\"beat\":%.2f,\"to_bar\":%lld",
             m->place.query_from, m->place.query_to, m->place.from, m->place.to,
             (long long)s->in_query.from_bar, ms_place_beat(s->in_query.beat),
             (long long)s->in_query.to_bar, (long long)s->in_match.from_bar,
             ms_place_beat(s->in_match.beat), (long long)s->in_match.to_bar);
    put(line, text);
    if (voice) {
        snprintf(text, sizeof text,
                 ",\"track\":%d,\"channel\":%d,\"program\":%d,\"voice_share\":%.3f",
                 voice->track + 1, voice->channel + 1, voice->program, m->voice_share);
        put(line, text);
        put(line, ",\"track_name\":");
        ms_json_put_string(line, voice->name, voice->name_bytes);
    }
    put(line, ",\"also\":[");
    for (int64_t i = 0; i < m->n_others; i++) {
        snprintf(text, sizeof text,
                 "%s{\"query_from\":%.3f,\"query_to\":%.3f,\"from\":%.3f,"
                 "\"to\":%.3f,\"notes\":%lld}",
                 i ? "," : "", m->others[i].query_from, m->others[i].query_to, m->others[i].from,
                 m->others[i].to, (long long)m->others[i].n_matched);
        put(line, text);
    }
    put(line, "]");
}

static void put_match(ms_json_text *line, int64_t rank, const ms_agreed *s) {
    const msim_note_match *m = s->match;
    char text[400];
    snprintf(text, sizeof text, "%s{\"rank\":%lld,\"name\":", rank > 1 ? "," : "", (long long)rank);
    put(line, text);
    ms_json_put_string(line, s->piece.name, s->piece.name_bytes);
    snprintf(text, sizeof text,
             ",\"relation\":\"%s\",\"same_key\":%s,\"same_tempo\":%s,\"significant\":%s,"
             "\"evalue\":%.4g,\"score\":%.2f,\"notes\":%lld,\"of\":[%lld,%lld],\"identity\":%.4f,"
             "\"transpose\":%d,\"tempo\":%.4f,\"residual\":%.4f",
             msim_relation_name(m->relation), m->is_same_key ? "true" : "false",
             m->is_same_tempo ? "true" : "false", m->is_significant ? "true" : "false", m->evalue,
             m->score, (long long)m->n_matched, (long long)m->of_query, (long long)m->of_piece,
             m->identity, m->transpose, m->tempo, m->residual);
    put(line, text);
    put_where(line, s);
    put(line, "}");
}

int ms_agreed_put_json(const msim_notes *notes, const ms_asked *q, ms_json_text *line,
                       msim_error *err) {
    int rc = 0;
    put(line, "[");
    for (int64_t i = 0; i < q->n_matches && rc >= 0; i++) {
        ms_agreed s;
        rc = ms_agreed_load(notes, q, i, &s, err);
        if (rc >= 0) put_match(line, i + 1, &s);
        ms_agreed_free(&s);
    }
    put(line, "]");
    return rc;
}

/* ---- Table ---- */

int ms_agreed_print_row(int64_t rank, const ms_agreed *s) {
    const msim_note_match *m = s->match;
    const msim_voice *voice = voice_of(s);
    char query[MS_PLACE_CHARS], place[MS_PLACE_CHARS];
    char agree[48], tempo[16] = "", track[16] = "", more[32] = "";
    ms_place_passage(query, m->place.query_from, m->place.query_to, s->in_query.from_bar,
                     s->in_query.to_bar);
    ms_place_passage(place, m->place.from, m->place.to, s->in_match.from_bar, s->in_match.to_bar);
    snprintf(agree, sizeof agree, "%lld/%lld", (long long)m->n_matched, (long long)m->of_query);
    snprintf(tempo, sizeof tempo, "%.2f", m->tempo > 0 ? 1 / m->tempo : 0);
    if (voice && s->notes.n_voices > 1 && m->voice_share >= 0.8)
        snprintf(track, sizeof track, "%d", voice->track + 1);
    if (m->n_others)
        snprintf(more, sizeof more, "  +%lld place%s", (long long)m->n_others,
                 ms_cli_plural((int64_t)m->n_others));
    (void)ms_cli_print("%4lld  ", (long long)rank);
    (void)ms_cli_style(m->is_significant ? MS_CLI_BOLD : MS_CLI_PLAIN);
    (void)ms_cli_print("%-16s", msim_relation_name(m->relation));
    (void)ms_cli_style(MS_CLI_PLAIN);
    (void)ms_cli_print("  %8.1e  %11s  %3.0f%%  %-22s  %-22s  %+4d  %5s  %5s  ", m->evalue, agree,
                       100.0 * (double)m->n_matched / (double)m->of_piece, query, place,
                       m->transpose, tempo, track);
    (void)ms_cli_write(s->piece.name, s->piece.name_bytes);
    return ms_cli_print("%s\n", more);
}

int ms_agreed_print_heads(void) {
    (void)ms_cli_style(MS_CLI_DIM);
    (void)ms_cli_print("rank  %-16s  %8s  %11s  %4s  %-22s  %-22s  %4s  %5s  %5s  name\n",
                       "relation", "E", "notes agree", "of it", "in the query", "in the match",
                       "key", "tempo", "track");
    return ms_cli_style(MS_CLI_PLAIN);
}
