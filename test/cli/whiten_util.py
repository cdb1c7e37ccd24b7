"""The whitening of docs/WHITENING.md in NumPy, its files as docs/FORMATS.md describes them, and corpora to whiten."""
import base64
import json
import struct

import numpy as np
from search_util import named

DIM = 24


def make_rows(seed, n, dim=DIM):
    """Rows with a strong common part, of which every tenth is a near copy of the one before."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(99).standard_normal((6, dim))
    rows = rng.standard_normal((n, 6)) @ basis + 4 + 0.5 * rng.standard_normal((n, dim))
    rows[9::10] = rows[8::10][:len(rows[9::10])] + 0.02 * rng.standard_normal(rows[9::10].shape)
    return rows.astype("f4")


def make_corpus(path, seed=1, n=1500, dim=DIM):
    rows = make_rows(seed, n, dim)
    named(path, [f"n{i}" for i in range(n)], rows)
    return rows


def unit(rows):
    rows = rows.astype("f8")
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def statistics(rows):
    """Number of rows, mean and covariance."""
    u = unit(np.unique(rows, axis=0))
    return len(u), u.mean(axis=0), np.cov(u.T, bias=True)


def combine(own, other, most):
    a, m, c = own
    b, p, d = min(other[0], most), other[1], other[2]
    return a + b, (a * m + b * p) / (a + b), (a * c + b * d) / (a + b) + a * b / (a + b) ** 2 * np.outer(m - p, m - p)


def nuisance(rows, copies):
    """Altered copies against their pieces, row by row."""
    apart = unit(copies) - unit(rows)
    return apart.T @ apart / len(apart) / 2


def whiten(rows, fit, shrink=0.005):
    _, mean, cov = fit
    factor = np.linalg.cholesky(cov + shrink * np.trace(cov) / len(cov) * np.eye(len(cov)))
    return unit(np.linalg.solve(factor, (unit(rows) - mean).T).T)


def read_fit(path):
    """A .whiten file: (distinct rows, mean, covariance), and the numbers of its head."""
    data = path.read_bytes()
    assert data[:12] == b"MSIMWHIT\x02\0\0\0"
    dim, rows, distinct, prior = struct.unpack_from("<4q", data, 16)
    mean = np.frombuffer(data, "<f4", dim, 272).astype("f8")
    cov = np.zeros((dim, dim))
    cov[np.tril_indices(dim)] = np.frombuffer(data, "<f4", dim * (dim + 1) // 2, 272 + 4 * dim)
    cov += np.tril(cov, -1).T
    return (distinct, mean, cov), {"dim": dim, "rows": rows, "prior_rows": prior}


def read_map(path):
    """Mean and factor of a whitened corpus's description, and what it says beside them."""
    made = json.loads((path.parent / (path.name + ".json")).read_text())
    numbers = np.frombuffer(base64.b64decode(made["whitener"]), "<f4")
    dim = made["whitening"]["dim"]
    factor = np.zeros((dim, dim), "f4")
    factor[np.tril_indices(dim)] = numbers[dim:]
    return numbers[:dim], factor, made
