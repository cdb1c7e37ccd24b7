/* Matches of one query, printed as table, TSV, JSON or the
 * original's listing. Values only; printing goes to standard output through tools/common/cli.h.
 * docs/SEARCH.md. */
#ifndef MS_TOOLS_SEARCH_RESULTS_H
#define MS_TOOLS_SEARCH_RESULTS_H
#include "common/notes/agreed.h"

/* The original's list of a query's matches, of which each of n_variants has the same number
 * (MSIM_KEEP_EACH): out [n]. Scores are rounded to f32, as the original has them, and a piece of
 * several rows stands there by its first. Returns how many it has, or < 0 when out of memory. */
int64_t ms_results_as_original(const msim_corpus *corpus, const msim_match *matches, int64_t n,
                               int64_t n_variants, bool keeps_all, msim_match *out,
                               msim_error *err);

enum ms_results_format { MS_RESULTS_TABLE, MS_RESULTS_TSV, MS_RESULTS_JSON, MS_RESULTS_MIDISIM };

typedef struct {
    const msim_corpus *corpus; /* borrowed */
    const msim_notes *notes;   /* borrowed; NULL: likeness is all there is (no --find) */
    int format;                /* ms_results_format */
    int columns;               /* of the table; 0: as wide as it gets */
    bool is_product;           /* scores are inner products, not cosines */
    bool has_threshold;
    double threshold;
    bool has_spans;   /* pieces have several rows: where in the piece is said too */
    bool has_bars;    /* in bars too */
    int64_t n_pieces; /* of the corpus */
    char *name;       /* owned: scratch, the name in hand */
    size_t name_cap;
    int64_t n_printed;             /* queries so far */
    const msim_searcher *searcher; /* borrowed; NULL: nothing is known about chances */
    /* Of the pass that the query was part of: */
    int64_t n_nonfinite;       /* rows of the corpus with NaN or infinity */
    int64_t n_evaluated;       /* scores evaluated in double */
    const char *scan;          /* "int8": how rows were ruled out before */
    int device;                /* msim_device that searched */
    const msim_answer *answer; /* borrowed: in hand; its matches are the query's when it has z */
} ms_results_out;

typedef struct {
    const char *label; /* what the query is called: [n_label] */
    size_t n_label;
    int64_t n_variants;
    const msim_match *matches; /* [n], ranked */
    const msim_span *spans;    /* [n]: where in the query each is; NULL: it was not cut */
    const msim_bar_span *bars; /* [n]: the same in bars; NULL as they are */
    int64_t n;
    const ms_asked *asked; /* with out->notes: its notes, and what was found; NULL: has none */
} ms_results_query;

/* What comes before the first query (the TSV's header). All return 0, or -1 when nothing more can
 * be written or there is no memory for it: ms_cli_finish says which. */
int ms_results_begin(ms_results_out *out);
/* One query in the format asked for. */
int ms_results_print(ms_results_out *out, const ms_results_query *query);
/* The name of a row into out->name, NUL-terminated; returns its bytes, or < 0 when out of
 * memory. */
int64_t ms_results_name(ms_results_out *out, int64_t row);
void ms_results_free(ms_results_out *out);

/* ---- Pieces that share notes, with out->notes (search/music.c) ---- */

/* The bars of a match: zeros where they are not known. */
msim_bar_span ms_results_bars(const ms_results_out *out, const msim_match *match);
/* The columns that --find adds at the end of TSV, and these cells of match i: empty but for bars,
 * which both kinds have; a tab comes first. */
int ms_results_music_head(void);
int ms_results_music_gap(const ms_results_out *out, const ms_results_query *query, int64_t i);
/* The rows of kind "find". */
int ms_results_music_rows(const ms_results_out *out, const ms_results_query *query);
/* The first list of a table and the heading of the second. */
int ms_results_music_table(const ms_results_out *out, const ms_results_query *query);
/* ,"notes":...,"find":[...] */
void ms_results_music_json(const ms_results_out *out, const ms_results_query *query,
                           ms_json_text *line);

/* Terminal columns that a text takes (what is not printable or not UTF-8 counts as the '?' it is
 * shown as). */
size_t ms_results_width(const char *text, size_t n);
/* Write text to out [4 * n + 8], safe for a terminal and cut in the middle to at most `columns`
 * columns (at least 1); returns its bytes. */
size_t ms_results_fit(const char *text, size_t n, size_t columns, char *out);

#endif
