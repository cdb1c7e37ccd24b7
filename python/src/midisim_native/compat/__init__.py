"""The functions of the Python package midisim 26.1.18 under their names, without PyTorch.

    import midisim_native.compat as midisim

Names, arguments, defaults and return types are the original's, with NumPy arrays in the place of tensors; where a program has
imported torch, tensors are taken and given too. docs/FROM-MIDISIM.md says what each function is in the tools and the library,
docs/guide/python.md what differs.
"""
from . import _tmidix as TMIDIX
from ._files import (copy_corpus_files, get_corpus_midis, get_normalized_midi_md5_hash, get_package_embeddings, get_package_models,
                     load_embeddings, normalize_midi_file, save_embeddings)
from ._hub import download_all_embeddings, download_embeddings, download_model
from ._pooling import masked_mean_pool, masked_weighted_mean_pool, pad_and_mask
from ._search import (cosine_similarity_topk, get_embeddings_bf16, idxs_sims_to_sorted_list, load_model, midi_to_tokens,
                      print_sorted_idxs_sims_list)

__all__ = ["TMIDIX", "copy_corpus_files", "cosine_similarity_topk", "download_all_embeddings", "download_embeddings", "download_model",
           "get_corpus_midis", "get_embeddings_bf16", "get_normalized_midi_md5_hash", "get_package_embeddings", "get_package_models",
           "idxs_sims_to_sorted_list", "load_embeddings", "load_model", "masked_mean_pool", "masked_weighted_mean_pool",
           "midi_to_tokens", "normalize_midi_file", "pad_and_mask", "print_sorted_idxs_sims_list", "save_embeddings"]
