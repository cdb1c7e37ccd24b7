#include "common/cli.h"
#include "common/json.h"
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
typedef struct { ms_cli_common common; const char *index; int64_t top; bool json; } settings;
static const ms_cli_option options[] = {
    {.name = "index", .letter = 'i', .kind = MS_CLI_TEXT, .value = "I", .offset = offsetof(settings, index), .help = "x"},
    {.name = "top", .letter = 'k', .kind = MS_CLI_INT, .min=1,.max=1000,.value = "I", .offset = offsetof(settings, top), .help = "x"},
    {.name = "json", .kind = MS_CLI_FLAG, .offset = offsetof(settings, json), .help = "x"}, {0}};
static const ms_cli_tool tool = {.name = "midisim-find", .purpose = "x", .summary = "x", .usage = "x", .description = "x",  .examples = (const ms_cli_example[]){{0}}, .options = options, .has_no_kernels = true};
int main(int argc, char **argv) {
    static settings s = {.top = 16};
    int rc = ms_cli_parse(&tool, argc, argv, &s);
    if (rc != 0) return ms_cli_finish(rc);
    msim_notes *notes; msim_error err; msim_finder *f; msim_note_reader *reader;
    msim_finder_options o = msim_finder_options_default(); o.max_matches = s.top;
    if (msim_notes_open(s.index, &notes, &err) < 0 || msim_finder_open(notes, &o, &f, &err) < 0 || msim_note_reader_open(&reader, &err) < 0) { ms_cli_error("%s", err.text); return 1; }
    static unsigned char buf[64 << 20];
    double t0 = ms_cli_now(), find_s = 0;
    for (size_t i = 0; i < s.common.operands.n; i++) {
        msim_piece_notes p = {.size = sizeof p};
        int64_t n = msim_midi_read(s.common.operands.items[i], buf, sizeof buf, &err);
        if (n < 0 || msim_note_reader_read(reader, buf, (size_t)n, &p, &err) < 0) { ms_cli_error("%s", err.text); continue; }
        const msim_note_match *m;
        double t1 = ms_cli_now();
        int64_t k = msim_finder_find(f, p.notes, p.n_notes, &m, &err);
        find_s += ms_cli_now() - t1;
        if (k < 0) { ms_cli_error("%s", err.text); continue; }
        ms_json_text t = {0};
        char b[600];
        snprintf(b, sizeof b, "{\"query\":\"%s\",\"notes\":%zu,\"matches\":[", s.common.operands.items[i], p.n_notes); ms_json_put(&t, b, strlen(b));
        for (int64_t j = 0; j < k; j++) {
            msim_notes_piece pc = {.size = sizeof pc};
            msim_notes_get_piece(notes, m[j].piece, &pc);
            ms_json_put(&t, j ? ",{\"name\":" : "{\"name\":", j ? 9 : 8);
            ms_json_put_string(&t, pc.name, pc.name_bytes);
            snprintf(b, sizeof b, ",\"relation\":\"%s\",\"evalue\":%.3g,\"score\":%.1f,\"notes\":%lld,\"of\":[%lld,%lld],\"identity\":%.3f,\"transpose\":%d,\"tempo\":%.4f,\"query_from\":%.3f,\"query_to\":%.3f,\"from\":%.3f,\"to\":%.3f,\"also\":[", msim_relation_name(m[j].relation), m[j].evalue, m[j].score, (long long)m[j].n_matched, (long long)m[j].of_query, (long long)m[j].of_piece, m[j].identity, m[j].transpose, m[j].tempo, m[j].place.query_from, m[j].place.query_to, m[j].place.from, m[j].place.to);
            ms_json_put(&t, b, strlen(b));
            for (int64_t a = 0; a < m[j].n_others; a++) { snprintf(b, sizeof b, "%s[%.3f,%.3f]", a ? "," : "", m[j].others[a].from, m[j].others[a].to); ms_json_put(&t, b, strlen(b)); }
            ms_json_put(&t, "]}", 2);
        }
        ms_json_put(&t, "]}\n", 3);
        ms_cli_write_json_text(&t);
        ms_json_text_free(&t);
    }
    fprintf(stderr, "%.3f s, finding %.3f s\n", ms_cli_now() - t0, find_s);
    return ms_cli_finish(0);
}
