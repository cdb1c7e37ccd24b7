/* How the pairs of a join are divided: see plan.h. */
#include "search/join/plan.h"

static int64_t least_of(int64_t a, int64_t b) { return a < b ? a : b; }

int64_t ms_join_pairs_below(const ms_join_shape *shape, int64_t row) {
    __int128 n = shape->n_right, pairs = n * row;
    if (shape->is_self) pairs -= (__int128)row * (row + 1) / 2;
    return pairs > INT64_MAX ? INT64_MAX : (int64_t)pairs;
}

int64_t ms_join_shard_first(const ms_join_shape *shape, int64_t i, int64_t n) {
    int64_t low = 0, high = shape->n_left;
    __int128 all = ms_join_pairs_below(shape, shape->n_left);
    if (i <= 0) return 0;
    if (i >= n) return shape->n_left;
    while (low < high) { /* the first row with at least i / n of all pairs below it */
        int64_t middle = low + (high - low) / 2;
        if ((__int128)ms_join_pairs_below(shape, middle) * n < all * i)
            low = middle + 1;
        else
            high = middle;
    }
    return low / MS_JOIN_LEFT * MS_JOIN_LEFT;
}

ms_join_strip ms_join_strip_at(const ms_join_shape *shape, int64_t left, int64_t end) {
    ms_join_strip s = {.left = left,
                       .left_end = least_of(left + MS_JOIN_STRIP, end),
                       .right = shape->is_self ? left / MS_JOIN_RIGHT * MS_JOIN_RIGHT : 0,
                       .right_end = shape->n_right};
    s.n_down = (s.left_end - left + MS_JOIN_RIGHT - 1) / MS_JOIN_RIGHT;
    s.n_blocks = (s.right_end - s.right + MS_JOIN_RIGHT - 1) / MS_JOIN_RIGHT * s.n_down;
    return s;
}

ms_join_strip ms_join_block_at(const ms_join_strip *strip, int64_t i) {
    int64_t left = strip->left + i % strip->n_down * MS_JOIN_RIGHT,
            right = strip->right + i / strip->n_down * MS_JOIN_RIGHT;
    return (ms_join_strip){.left = left,
                           .left_end = least_of(left + MS_JOIN_RIGHT, strip->left_end),
                           .right = right,
                           .right_end = least_of(right + MS_JOIN_RIGHT, strip->right_end)};
}
