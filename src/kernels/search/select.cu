/* The k best of a query: the list so far and the candidates that were scored, merged.
 *
 * k_select
 * Shapes    per query up to 3,072 scored candidates and a sorted list of up to k <= 1,024;
 *           docs/SEARCH.md, The order.
 * Grid      one block of 512 threads a query. Shared memory: 16 bytes an entry, to a power of two
 *           (at most 4,096: 64 KiB).
 * How       A score becomes a key whose unsigned order is falling score; with the row it is the
 *           rank order of src/search/rank.h. A bitonic sort of as many entries as there are, to the
 *           next power of two; a row that is there twice has the same score both times (a score's
 *           bits depend on query and row alone), so its entries are neighbours, and the second is
 *           dropped while the first k are written. NaN, which no score is, counts as -infinity.
 * Numerics  no arithmetic: keys go back to the scores' bits.
 * Needs     candidate_cap + k <= 4,096. Entries beyond n_candidates and n_best are not read.
 * Cost      log2(n) (log2(n) + 1) / 2 rounds with a barrier each: 36 for 256 entries, 78 for 4,096.
 *           Not measured.
 * Tests     test/gpu/test_gpu_topk.c, against src/search/topk.c's order. */
#include "kernels/search/common.cuh"

enum { THREADS = 512, WARPS = THREADS / 32, MAX_ENTRIES = MS_GPU_MAX_CANDIDATES + MS_GPU_MAX_K };

struct alignas(16) Entry {
    uint64_t key;
    int64_t row;
};

/* The `count` entries (a power of two) in order. All threads of the block. */
static __device__ void sort_entries(Entry *entries, int count) {
    for (int size = 2; size <= count; size *= 2)
        for (int apart = size / 2; apart > 0; apart /= 2) {
            sync_block(); /* the round before is done, and at first the entries are there */
            for (int i = (int)threadIdx.x; i < count / 2; i += THREADS) {
                int low = i / apart * apart * 2 + i % apart, high = low + apart;
                bool is_falling = (low & size) != 0;
                Entry a = entries[low], b = entries[high];
                if (ms_rank_key_before(b.key, b.row, a.key, a.row) != is_falling)
                    entries[low] = b, entries[high] = a;
            }
        }
}

static __global__ void __launch_bounds__(THREADS) k_select(ms_gpu_select a, int max_count) {
    Carve c = carve_begin();
    Entry *entries = carve<Entry>(c, (size_t)max_count);
    SHARED_VAR(uint32_t, kept_by_warp, WARPS);
    int q = (int)blockIdx.x, tid = (int)threadIdx.x, lane = tid % 32, warp = tid / 32, k = (int)a.k,
        count = 1;
    int64_t counted = a.n_shared > 0 ? a.n_shared : (int64_t)a.n_candidates[q];
    int n_new = (int)(counted < a.candidate_cap ? counted : a.candidate_cap);
    int n_old = (int)a.n_best[q] < k ? (int)a.n_best[q] : k, n = n_new + n_old;
    ms_gpu_hit *best = a.best + (int64_t)q * k;
    while (count < n) count *= 2;
    for (int i = tid; i < count; i += THREADS) {
        Entry e = {~(uint64_t)0, INT64_MAX}; /* fill, behind everything */
        if (i < n_old) {
            e.key = ms_rank_key(best[i].score), e.row = best[i].row;
        } else if (i < n) {
            int64_t at = q * a.candidate_cap + (i - n_old);
            e.key = ms_rank_key(a.scores[at]);
            e.row = a.candidates[a.n_shared > 0 ? i - n_old : at].row;
        }
        entries[i] = e;
    }
    sort_entries(entries, count);
    sync_block(); /* all of the list is in order, and the old list has been read */
    int written = 0;
    double least = -INFINITY;
    for (int base = 0; base < n && written < k; base += THREADS) { /* alike for the whole block */
        int i = base + tid;
        Entry e = {0, 0};
        bool keep = false;
        if (i < n) {
            e = entries[i];
            keep = i == 0 || e.row != entries[i - 1].row || e.key != entries[i - 1].key;
        }
        uint32_t kept = vote_ballot(keep);
        if (lane == 0) kept_by_warp[warp] = (uint32_t)count_bits(kept);
        sync_block(); /* counts of all warps */
        int at = written + count_bits(kept & ((1u << lane) - 1u));
        for (int w = 0; w < WARPS; w++) {
            if (w < warp) at += (int)kept_by_warp[w];
            written += (int)kept_by_warp[w];
        }
        if (keep && at < k) {
            ms_gpu_hit hit;
            hit.score = ms_rank_score_of(e.key), hit.row = e.row;
            best[at] = hit;
            if (at == k - 1) a.kth_score[q] = hit.score;
        }
        sync_block(); /* counts have been read */
    }
    if (tid != 0) return;
    a.n_best[q] = (uint32_t)(written < k ? written : k);
    if (written < k) a.kth_score[q] = least;
}

extern "C" int ms_select_cuda(ms_gpu_stream *s, const ms_gpu_select *select, msim_error *err) {
    int count = 1;
    assert(select->n_query >= 1 && select->k >= 1 && select->k <= MS_GPU_MAX_K);
    assert(select->candidate_cap >= 0 && select->candidate_cap <= MS_GPU_MAX_CANDIDATES);
    while (count < (int)(select->candidate_cap + select->k)) count *= 2;
    assert(count <= MAX_ENTRIES);
    cudaError_t rc = launch(k_select, dim3((unsigned)select->n_query), dim3(THREADS),
                            carve_bytes<Entry>((size_t)count), (cudaStream_t)ms_gpu_stream_raw(s),
                            *select, count);
    return ms_gpu_check_launch((int)rc, "k_select", err);
}
