"""The functions of the Python package midisimx 26.10.26 under their names, without PyTorch.

    import midisim_native.compat_x as midisimx

Names, arguments, defaults and return types are the original's, as in midisim_native.compat, but for two things. midi_to_tokens
gives tokens in the order that the models were trained on; token_order="chord-first" gives those of midisimx 26.10.26. And
options of the tokeniser that no published model understands are refused. docs/guide/midisimx.md says which functions are not here.
"""
from ..compat import TMIDIX
from ..compat._files import get_corpus_midis, get_normalized_midi_md5_hash, normalize_midi_file, save_embeddings
from ..compat._pooling import masked_mean_pool
from ..compat._search import cosine_similarity_topk, idxs_sims_to_sorted_list, print_sorted_idxs_sims_list
from ._files import (copy_corpus_files, download_all_embeddings, download_embeddings, download_model, get_md5_hash,
                     get_package_embeddings, get_package_models, get_sha256_hash, load_embeddings, load_model, load_tiny_embeddings,
                     load_tiny_model, sort_aligned_lists)
from ._tokens import midi_to_tokens
from ._vectors import get_embeddings_bf16, masked_weighted_mean_aggregated_pool, masked_weighted_mean_pool, pad_and_mask

__all__ = ["TMIDIX", "copy_corpus_files", "cosine_similarity_topk", "download_all_embeddings", "download_embeddings", "download_model",
           "get_corpus_midis", "get_embeddings_bf16", "get_md5_hash", "get_normalized_midi_md5_hash", "get_package_embeddings",
           "get_package_models", "get_sha256_hash", "idxs_sims_to_sorted_list", "load_embeddings", "load_model",
           "load_tiny_embeddings", "load_tiny_model", "masked_mean_pool", "masked_weighted_mean_aggregated_pool",
           "masked_weighted_mean_pool", "midi_to_tokens", "normalize_midi_file", "pad_and_mask", "print_sorted_idxs_sims_list",
           "save_embeddings", "sort_aligned_lists"]
