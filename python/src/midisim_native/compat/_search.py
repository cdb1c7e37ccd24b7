"""MIDI files to tokens, tokens to vectors, and the search."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._corpus import Corpus
from .._library import lib
from .._model import Model, Tokenizer, read_midi
from ..errors import EmptyError
from ._arrays import as_tensor, to_numpy, torch_module, wants_half

__all__ = ["cosine_similarity_topk", "get_embeddings_bf16", "idxs_sims_to_sorted_list", "load_model", "midi_to_tokens",
           "print_sorted_idxs_sims_list"]

_LINE = "=" * 70


class NativeModel(Model):
    """What load_model returns: a Model with the few methods of a torch module that scripts call on it."""

    def eval(self) -> NativeModel:
        return self

    def to(self, *_: Any, **__: Any) -> NativeModel:
        return self


def load_model(
        model_path: str = "./midisim-models/midisim_small_pre_trained_model_2_epochs_43117_steps_0.3148_loss_0.9229_acc.pth",
        dim: int = 512, depth: int = 8, heads: int = 8, max_seq_len: int = 3072, pad_idx: int = 385, dtype: Any = None,
        device: Any = "cuda", verbose: bool = True) -> tuple[NativeModel, Any, Any]:
    """(model, a context that does nothing, dtype). Sizes are read off the file; a dim, depth, heads or pad_idx that says
    otherwise is a RuntimeError, as there. device "cuda" takes a GPU where there is one, else the CPU.

    dtype None stands for torch.bfloat16; get_embeddings_bf16 computes in bf16 whatever it is, as the original does.
    """
    name = str(device)
    model = NativeModel(model_path, device="auto" if name == "cuda" else name)
    info = model.info
    found = (info.dim, info.depth, info.heads, info.vocab)
    if found != (dim, depth, heads, pad_idx + 1):
        raise RuntimeError(f"{model_path}: expected dim, depth, heads and tokens {(dim, depth, heads, pad_idx + 1)}, got {found}")
    torch = torch_module()
    if verbose:
        print(f"{model_path}: {info.family}, {info.depth} layers of {info.dim}, on {info.device}")
    return model, contextlib.nullcontext(), dtype if dtype is not None or torch is None else torch.bfloat16


def midi_to_tokens(midi_file_path: str, max_seq_len: int = 3072, transpose_factor: int = 6,
                   verbose: bool = True) -> list[list[int]]:
    """The token ids of a MIDI file, in keys from -transpose_factor to transpose_factor - 1 semitones; 0 is only as it is.

    transpose_factor is taken as 0..6. A file without notes gives []; so does one that cannot be read, after a printed line.
    """
    return variants_of(midi_file_path, Tokenizer, max_seq_len, transpose_factor, verbose)


def variants_of(path: str, open_tokenizer: Callable[[], Tokenizer], max_seq_len: int, transpose_factor: int,
                verbose: bool) -> list[list[int]]:
    """The part that both originals' midi_to_tokens share."""
    factor = max(0, min(6, transpose_factor))
    try:
        with open_tokenizer() as tokenizer:
            found = tokenizer.encode_variants(read_midi(path), factor, max_seq_len)
    except EmptyError as error:
        if verbose:
            print(f"{path}: {error}")
        return []
    except Exception as error:  # noqa: BLE001: the original returns [] whatever happens
        print(f"{path}: {error}")
        return []
    if verbose:
        print(f"{path}: {len(found)} sequences of {len(found[0])} tokens")
    return [sequence.tolist() for sequence in found]


def get_embeddings_bf16(model: Model, sequences: Sequence[Sequence[int]], seq_len: int | None = 3072, seq_pad_idx: int = 385,
                        batch_size: int = 64, save_every_num_batches: int = -1, save_file_path: str = "saved_embeddings.npy",
                        device: Any = None, normalize: bool = False, pooling: str = "auto",
                        token_type_weights: tuple[float, float, float] | None = None, use_bfloat16: bool = True,
                        return_dtype: str = "float32", return_numpy: bool = False, verbose: bool = True,
                        show_progress_bar: bool = True) -> Any:
    """The vectors [n, dim] of sequences of token ids, f32 or f16. Where torch is imported they are a tensor on the CPU, unless
    return_numpy is True; else an array.

    pooling: "auto" or "mean", or "weighted_mean" with token_type_weights for start-time, duration and pitch tokens.
    seq_len: only so many first tokens; None: all. device is the model's. Sequences are packed, so seq_pad_idx has no effect,
    and results do not depend on batch_size. use_bfloat16=False computes in bf16 as well, as the original does on a CPU.
    """
    if return_dtype not in ("float32", "float16"):
        raise AssertionError(f"return_dtype: expected float32 or float16, got '{return_dtype}'")
    if pooling not in ("auto", "mean", "weighted_mean"):
        raise ValueError(f"pooling: expected auto, mean or weighted_mean, got '{pooling}'")
    weights = token_type_weights if pooling == "weighted_mean" else None
    return embed_sequences(
        sequences, lambda batch: model.embed(batch, max_tokens=0, class_weights=weights), seq_len=seq_len, batch_size=batch_size,
        save_every=save_every_num_batches, save_path=save_file_path, normalize=normalize, is_half=return_dtype == "float16",
        return_numpy=return_numpy, verbose=verbose, show_progress_bar=show_progress_bar)


def embed_sequences(sequences: Sequence[Sequence[int]], embed: Callable[[list[npt.NDArray[np.int32]]], npt.NDArray[np.float32]], *,
                    seq_len: int | None, batch_size: int, save_every: int, save_path: str, normalize: bool, is_half: bool,
                    return_numpy: bool, verbose: bool, show_progress_bar: bool) -> Any:
    """What `embed` gives of sequences, some at a time: the part that both originals' get_embeddings_bf16 share."""
    kind = np.float16 if is_half else np.float32
    size = max(batch_size, 1)
    bar = _bar(len(sequences), show_progress_bar)
    done: list[npt.NDArray[Any]] = []
    for number, first in enumerate(range(0, len(sequences), size), 1):
        batch = [np.asarray(sequence[:seq_len], np.int32) for sequence in sequences[first:first + size]]
        rows = embed(batch)
        if normalize:
            lib.msim_l2_normalize(rows.ctypes.data, rows.size // rows.shape[-1], rows.shape[-1])
        done.append(rows.astype(kind, copy=False))
        if bar is not None:
            bar.update(len(batch))
        if save_every > 0 and number % save_every == 0:
            _save(save_path, done, verbose)
    if bar is not None:
        bar.close()
    out = np.concatenate(done) if done else np.empty((0, 0), kind)
    if verbose:
        print(f"embedded: {list(out.shape)}")
    return out if return_numpy else as_tensor(out)


def _bar(total: int, is_shown: bool) -> Any:
    """A bar of tqdm where it is installed."""
    if not is_shown:
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, desc="embedding", unit="piece")


def _save(path: str, done: list[npt.NDArray[Any]], verbose: bool) -> None:
    """What is finished so far. The work goes on when that cannot be saved, as in the original."""
    try:
        np.save(path, np.concatenate(done))
    except OSError as error:
        if verbose:
            print(f"not saved: {error}")


def cosine_similarity_topk(query_embs: Any, corpus_embs: Any, topk: int = 16, chunk_size: int = 10000, device: Any = None,
                           use_gpu_if_available: bool = True, normalize_inputs: bool = True, return_dtype: Any = "float32",
                           use_fp32_accumulation: bool = True, verbose: bool = True) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """(row numbers [q, topk], scores [q, topk]) of the best rows of corpus_embs [n, dim] for each row of query_embs [q, dim].

    Scores are computed in double and rounded to f32 (f16 where return_dtype says so); of equal scores the lower row comes
    first. Where the corpus has fewer rows, -1 and -inf fill the rest. normalize_inputs=False gives plain dot products.
    chunk_size and use_fp32_accumulation have no effect. Raises ValueError for arrays of other shapes.
    """
    queries, rows = to_numpy(query_embs), to_numpy(corpus_embs)
    for name, array in (("query_embs", queries), ("corpus_embs", rows)):
        if array.ndim != 2:
            raise ValueError(f"{name}: expected two axes, got {array.ndim}")
    if queries.shape[1] != rows.shape[1]:
        raise ValueError(f"query_embs and corpus_embs: expected the same width, got {queries.shape[1]} and {rows.shape[1]}")
    where = "cpu" if not use_gpu_if_available else "auto" if device is None else str(device)
    idxs = np.full((len(queries), topk), -1, np.int64)
    sims = np.full((len(queries), topk), -np.inf, np.float32)
    if len(rows):
        with Corpus.open(rows) as corpus:
            found, scores = corpus.search_vectors(queries, topk, metric="cosine" if normalize_inputs else "ip", device=where)
        idxs[:, :found.shape[1]], sims[:, :found.shape[1]] = found, scores
    if verbose:
        print(f"searched: {len(queries)} queries, {len(rows)} rows")
    return idxs, sims.astype(np.float16) if wants_half(return_dtype) else sims


def idxs_sims_to_sorted_list(idxs: Any, sims: Any, sims_mult: float = 100, remove_dupes: bool = True) -> list[Any]:
    """Matches [row, transposition, score * sims_mult] of all variants of a piece, best first; of each row the best one, unless
    remove_dupes is False (then they are tuples, as there). Variant v of n is moved by v - n / 2 semitones."""
    rows, scores = np.array(idxs), np.array(sims)
    if rows.shape != scores.shape:
        raise AssertionError(f"idxs and sims differ in shape: {rows.shape} and {scores.shape}")
    n = rows.shape[0]
    first, last = (0, 1) if n == 1 else (-(n // 2), n // 2) if n > 1 and n % 2 == 0 else (-6, 6)
    moved = [transposition for transposition in range(first, last) for _ in range(rows.shape[1])]
    flat = zip(rows.ravel().tolist(), moved, (score * sims_mult for score in scores.ravel().tolist()))
    ranked = sorted(flat, key=lambda match: -match[2])
    if not remove_dupes:
        return ranked
    best: dict[int, list[Any]] = {}
    for match in ranked:
        best.setdefault(match[0], list(match))
    return list(best.values())


def print_sorted_idxs_sims_list(sorted_idxs_sims_list: Sequence[Sequence[Any]], corpus_midi_names: Any,
                                return_as_list: bool = False) -> list[list[Any]] | None:
    """Print matches with their names, or return them as [number, name, transposition, score] with return_as_list."""
    names = corpus_midi_names.tolist() if isinstance(corpus_midi_names, np.ndarray) else corpus_midi_names
    if return_as_list:
        return [[number, names[row], moved, score] for number, (row, moved, score) in enumerate(sorted_idxs_sims_list)]
    print(f"{_LINE}\nSearch results:\n{_LINE}")
    for number, (row, moved, score) in enumerate(sorted_idxs_sims_list):
        print(f"#{number:03} {names[row]} --- {moved} --- {round(score, 8)}")
    print(f"{_LINE}\nTotal number of records: {len(sorted_idxs_sims_list)}\n{_LINE}")
    return None
