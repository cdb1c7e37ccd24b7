"""Padding and pooling, on arrays [batch, length, width]."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._arrays import as_tensor, like, to_numpy

__all__ = ["masked_mean_pool", "masked_weighted_mean_pool", "pad_and_mask"]


def masked_mean_pool(token_embeddings: Any, mask: Any, dim: int = 1, eps: float = 1e-9, verbose: bool = True) -> Any:
    """The mean [B, D] of token_embeddings [B, L, D] over the positions where mask [B, L] is true; zeros where none is.

    The result has the type of token_embeddings. Sums are in f32 where that is f16 or bf16.
    """
    values, valid = to_numpy(token_embeddings), to_numpy(mask)
    wide = values.astype(np.float32) if values.dtype == np.float16 else values
    weights = valid.astype(wide.dtype)
    counts = np.expand_dims(np.maximum(weights.sum(axis=dim), wide.dtype.type(eps)), -1)
    pooled = (wide * weights[..., None]).sum(axis=dim) / counts
    if verbose:
        print(f"pooled: {list(pooled.shape)}, of {counts.min():g} to {counts.max():g} tokens")
    return like(pooled.astype(values.dtype), token_embeddings)


def masked_weighted_mean_pool(token_embs: Any, valid_mask: Any, token_ids: Any = None,
                              token_type_weights: tuple[float, float, float] | None = None, dim: int = 1,
                              verbose: bool = False) -> Any:
    """As masked_mean_pool, with a weight for each token by its kind: start time (ids 0..127), duration (128..255) or pitch
    (256..383). Other ids weigh 1. Without token_ids it is masked_mean_pool; without weights all weigh 1."""
    if token_ids is None:
        return masked_mean_pool(token_embs, valid_mask, dim=dim, verbose=verbose)
    values, valid, ids = to_numpy(token_embs), to_numpy(valid_mask), to_numpy(token_ids)
    wide = values.astype(np.float32) if values.dtype == np.float16 else values
    weights = np.ones(ids.shape, wide.dtype)
    for kind, weight in enumerate(token_type_weights or (1.0, 1.0, 1.0)):
        weights[(ids >= 128 * kind) & (ids < 128 * (kind + 1)) & valid.astype(bool)] = weight
    weights *= valid.astype(wide.dtype)
    total = np.maximum(weights.sum(axis=1, keepdims=True), wide.dtype.type(1e-6))
    pooled = (wide * weights[..., None]).sum(axis=dim) / total
    return like(pooled.astype(values.dtype), token_embs)


def pad_and_mask(sequences: Sequence[Sequence[int]], pad_idx: int = 385, seq_len: int | None = None, device: Any = None,
                 verbose: bool = False) -> tuple[Any, Any]:
    """(ids, mask), both [B, T]: sequences side by side, padded with pad_idx, and where a real token is.

    T is the longest sequence, at most seq_len. ids are int64, the mask is bool.
    """
    longest = max((len(sequence) for sequence in sequences), default=0)
    length = longest if seq_len is None else min(seq_len, longest)
    ids = np.full((len(sequences), length), pad_idx, np.int64)
    mask = np.zeros((len(sequences), length), bool)
    for row, sequence in enumerate(sequences):
        n = min(len(sequence), length)
        ids[row, :n], mask[row, :n] = sequence[:n], True
    if verbose:
        print(f"padded: {list(ids.shape)}")
    return as_tensor(ids, device), as_tensor(mask, device)
