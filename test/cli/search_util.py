"""Scores in the order of docs/SEARCH.md, computed with NumPy, and corpora to search. Products of two f32 numbers are
exact in float64, so a multiplication and an addition give the bits of a fused multiply-add: for rows of f32, f16 and
bf16 these are the very bits that the tool must give."""
import math

import numpy as np


def lane_dot(a, b):
    """Dots of the rows of a with vector b: 16 lanes, then l += l + 8, + 4, + 2, + 1."""
    lanes = np.zeros((len(a), 16))
    for j in range(0, a.shape[1], 16):
        lanes += a[:, j:j + 16] * b[j:j + 16]
    for half in (8, 4, 2, 1):
        lanes[:, :half] += lanes[:, half:2 * half]
    return lanes[:, 0]


def scores(query, rows, metric="cosine"):
    """[n] float64; -inf for rows that hold NaN or infinity."""
    with np.errstate(all="ignore"):
        rows, query = rows.astype(np.float64), query.astype(np.float64)
        lanes = np.zeros((len(rows), 16))
        for j in range(0, rows.shape[1], 16):
            lanes += rows[:, j:j + 16] ** 2
        for half in (8, 4, 2, 1):
            lanes[:, :half] += lanes[:, half:2 * half]
        squares = lanes[:, 0]
        score = lane_dot(rows, query)
        if metric == "cosine":
            norm = math.sqrt(lane_dot(query[None], query)[0])
            score = score / (norm * np.sqrt(squares)) if norm else 0 * score
            score[squares == 0] = 0
        score[~np.isfinite(squares)] = -np.inf
    return score + 0.0


def best(queries, rows, k, metric="cosine"):
    """[(row, score, transpose)] of the k best rows by best variant; queries {transpose: vector}."""
    table = np.stack([scores(q, rows, metric) for q in queries.values()])
    shifts = list(queries)
    ranked = sorted(((-table[:, r].max(), r) for r in range(len(rows))))[:k]
    return [(r, -s, shifts[int(np.argmax(table[:, r]))]) for s, r in ranked]


def shown(score):
    """A score as JSON has it: what f32 holds of it; null where it is none."""
    return float("%.9g" % np.float32(score)) if np.isfinite(score) else None


def named(path, names, rows, name_type="<U80"):
    """A structured corpus."""
    data = np.zeros(len(rows), [("midi_names", name_type), ("midi_embeddings", "<f4", (rows.shape[1],))])
    data["midi_names"] = names
    data["midi_embeddings"] = rows
    np.save(path, data)
    return path
