"""Tokens of midisimx to vectors: weights are those of ranges of ids."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from .._model import Model
from ..compat import _pooling
from ..compat._arrays import like, to_numpy
from ..compat._search import embed_sequences

__all__ = ["get_embeddings_bf16", "masked_weighted_mean_aggregated_pool", "masked_weighted_mean_pool", "pad_and_mask"]

Weights = Union[None, Mapping[tuple[int, int], float], Sequence[float]]
"""{(first id, end): weight}, the end not included; or three weights of 0..127, 128..255 and 256..383."""
CLASSES = ((0, 128), (128, 256), (256, 384), (384, 718))  # those that the library has a weight for; other ids weigh 1


def _ranges(weights: Weights) -> dict[tuple[int, int], float]:
    if weights is None:
        return {}
    if isinstance(weights, Mapping):
        return {(first, end): float(weight) for (first, end), weight in weights.items()}
    if isinstance(weights, (tuple, list)):
        a, b, c = weights
        return dict(zip(CLASSES, (float(a), float(b), float(c))))
    raise TypeError(f"token_type_weights: expected a dictionary or three numbers, got {type(weights).__name__}")


def _weights_of(ids: npt.NDArray[Any], weights: Weights) -> npt.NDArray[np.float32]:
    """A weight for each id: of the last range that has it, else 1. parity: a range of weight 1 overrides no earlier one
    (test_compat_x.py, test_pooling)."""
    out = np.ones(ids.shape, np.float32)
    for (first, end), weight in _ranges(weights).items():
        if weight != 1.0:
            out[(ids >= first) & (ids < end)] = weight
    return out


def _class_weights(weights: Weights, vocab: int) -> list[float] | None:
    """The four weights of the library that mean the same; None where the ranges are other ones."""
    each = _weights_of(np.arange(vocab), weights)
    found = [float(each[first]) for first, _ in CLASSES]
    is_same = all((each[first:end] == each[first]).all() for first, end in CLASSES) and (each[CLASSES[-1][1]:] == 1).all()
    return found if is_same else None


def masked_weighted_mean_pool(token_embs: Any, valid_mask: Any, token_ids: Any = None, token_type_weights: Weights = None,
                              dim: int = 1, verbose: bool = False) -> Any:
    """As masked_mean_pool, with a weight for each token by its id. token_type_weights: {(first, end): weight}, the end not
    included, or three weights of ids 0..127, 128..255 and 256..383. Other ids weigh 1. Without token_ids it is masked_mean_pool."""
    if token_ids is None:
        return _pooling.masked_mean_pool(token_embs, valid_mask, dim=dim, verbose=verbose)
    values, valid, ids = to_numpy(token_embs), to_numpy(valid_mask), to_numpy(token_ids)
    wide = values.astype(np.float32) if values.dtype == np.float16 else values
    weights = _weights_of(ids, token_type_weights).astype(wide.dtype) * valid.astype(wide.dtype)
    total = np.maximum(weights.sum(axis=dim, keepdims=True), wide.dtype.type(1e-6))
    pooled = (wide * weights[..., None]).sum(axis=dim) / total
    return like(pooled.astype(values.dtype), token_embs)


def masked_weighted_mean_aggregated_pool(token_embs: Any, valid_mask: Any, token_ids: Any = None,
                                         token_type_weights: Weights = None, dim: int = 1, concat: bool = True,
                                         verbose: bool = False) -> Any:
    """For each range of ids, by its first id: the mean over its tokens, times its weight; zeros where there are none. They stand
    side by side, [B, R D], or with concat=False are [B, R, D]. Without token_ids or weights it is masked_mean_pool."""
    ranges = sorted(_ranges(token_type_weights).items(), key=lambda entry: entry[0][0])
    if token_ids is None or not ranges:
        return _pooling.masked_mean_pool(token_embs, valid_mask, dim=dim, verbose=verbose)
    values, valid, ids = to_numpy(token_embs), to_numpy(valid_mask).astype(bool), to_numpy(token_ids)
    wide = values.astype(np.float32) if values.dtype == np.float16 else values
    pooled = []
    for (first, end), weight in ranges:
        counted = ((ids >= first) & (ids < end) & valid).astype(wide.dtype)
        total = np.maximum(counted.sum(axis=dim), wide.dtype.type(1e-6))[..., None]
        pooled.append(((wide * wide.dtype.type(weight) * counted[..., None]).sum(axis=dim) / total).astype(values.dtype))
    return like(np.concatenate(pooled, axis=-1) if concat else np.stack(pooled, axis=1), token_embs)


def pad_and_mask(sequences: Sequence[Sequence[int]], pad_idx: int = 719, seq_len: int | None = None, device: Any = None,
                 verbose: bool = False) -> tuple[Any, Any]:
    """(ids, mask), both [B, T]: sequences side by side, padded with pad_idx, and where a real token is."""
    return _pooling.pad_and_mask(sequences, pad_idx, seq_len, device, verbose)


def _pooled(model: Model, batch: list[npt.NDArray[np.int32]], pool: Any, **options: Any) -> npt.NDArray[np.float32]:
    """Vectors of tokens, pooled here: for ranges that are not the library's classes."""
    rows = []
    for ids in batch:
        vectors = model.embed_tokens(ids, max_tokens=0)[None]
        rows.append(pool(vectors, np.ones((1, len(ids)), bool), ids[None], **options))
    out: npt.NDArray[np.float32] = np.concatenate(rows)
    return out


def get_embeddings_bf16(model: Model, sequences: Sequence[Sequence[int]], seq_len: int | None = 3072, seq_pad_idx: int = 719,
                        batch_size: int = 16, save_every_num_batches: int = -1, save_file_path: str = "saved_embeddings.npy",
                        device: Any = None, normalize: bool = False, pooling: str = "auto", token_type_weights: Weights = None,
                        concat_aggregated_embeddings: bool = True, use_bfloat16: bool = True, return_dtype: str = "float32",
                        return_numpy: bool = False, verbose: bool = True, show_progress_bar: bool = True) -> Any:
    """The vectors [n, dim] of sequences of token ids, as midisim_native.compat.get_embeddings_bf16 gives them.

    pooling: also "weighted_mean" with token_type_weights {(first id, end): weight}; published corpora have {(128, 256): 2,
    (384, 718): 2}. "weighted_mean_aggregated" gives a mean for each range, [n, R dim], or [n, R, dim] with
    concat_aggregated_embeddings=False.
    """
    if return_dtype not in ("float32", "float16"):
        raise AssertionError(f"return_dtype: expected float32 or float16, got '{return_dtype}'")
    if pooling not in ("auto", "mean", "weighted_mean", "weighted_mean_aggregated"):
        raise ValueError(f"pooling: expected auto, mean, weighted_mean or weighted_mean_aggregated, got '{pooling}'")
    weights = _class_weights(token_type_weights, model.info.vocab) if pooling == "weighted_mean" else None

    def embed(batch: list[npt.NDArray[np.int32]]) -> npt.NDArray[np.float32]:
        if pooling == "weighted_mean_aggregated":
            return _pooled(model, batch, masked_weighted_mean_aggregated_pool, token_type_weights=token_type_weights,
                           concat=concat_aggregated_embeddings)
        if pooling == "weighted_mean" and weights is None:
            return _pooled(model, batch, masked_weighted_mean_pool, token_type_weights=token_type_weights)
        return model.embed(batch, max_tokens=0, class_weights=weights)

    return embed_sequences(sequences, embed, seq_len=seq_len, batch_size=batch_size, save_every=save_every_num_batches,
                           save_path=save_file_path, normalize=normalize, is_half=return_dtype == "float16",
                           return_numpy=return_numpy, verbose=verbose, show_progress_bar=show_progress_bar)
