/* Embed a folder with progress, then find the pieces that are most like a file, in any key.
 *   find MODEL.safetensors FOLDER CORPUS.npy QUERY.mid
 *   cc find.c $(pkg-config --cflags --libs midisim) -o find */
#include <midisim.h>
#include <stdio.h>

static int show(void *user, const msim_job_progress *p) {
    (void)user;
    if (p->step == MSIM_STEP_EMBED)
        fprintf(stderr, "\r%lld of %lld files", (long long)p->done, (long long)p->all);
    return 0; /* anything else would stop the job; the same call goes on later */
}

int main(int argc, char **argv) {
    msim_error e = {0};
    msim_model *model = NULL;
    msim_job *job = NULL;
    msim_corpus *corpus = NULL;
    msim_searcher *searcher = NULL;
    msim_match found[3];
    msim_job_options o = msim_job_options_default();
    msim_searcher_options keys = msim_searcher_options_default(); /* twelve keys */
    if (argc != 5) return fprintf(stderr, "usage: find MODEL FOLDER CORPUS.npy QUERY.mid\n"), 2;

    int64_t n = msim_model_open(argv[1], NULL, &model, &e);
    o.model = model;
    o.paths = (const char *const *)&argv[2];
    o.n_paths = 1;
    o.output = argv[3];
    o.progress = show;
    if (n >= 0) n = msim_job_open(&o, &job, &e);
    if (n >= 0) n = msim_job_run(job, &e);
    if (n >= 0) n = msim_corpus_open(argv[3], NULL, &corpus, &e);
    if (n >= 0) n = msim_searcher_open(model, corpus, NULL, &keys, &searcher, &e);
    if (n >= 0) n = msim_searcher_file(searcher, argv[4], found, 3, &e);
    for (int64_t i = 0; i < n && i < 3; i++) {
        char name[1024];
        msim_corpus_name(corpus, found[i].row, name, sizeof name);
        printf("%6.2f %%  %+d  %s\n", 100 * found[i].score, found[i].transpose, name);
    }
    if (n < 0) fprintf(stderr, "find: %s\n", e.text);
    msim_searcher_close(searcher);
    msim_corpus_close(corpus);
    msim_job_close(job);
    msim_model_close(model);
    return n < 0;
}
