"""One long-lived process of the peers: compare.py starts it with the peers' Python and tells it, a JSON object a line,
what to run once; it answers with {"seconds": S} or {"error": TEXT}. Models, indexes and files are loaded once, and each
piece of work ran once before it is timed.

usage: peer.py FOLDER       FOLDER has common.py, whose loading functions are used here

The calls are those of encoder.py, topk.py and midi.py in FOLDER, which as scripts cannot be told to take turns.
"""
import json
import os
import sys
import tempfile
import time

answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # whatever libraries print goes to stderr
sys.path.insert(0, sys.argv[1])
import common  # noqa: E402

loaded = {}


def once(make):
    """A loader that runs at its first call."""
    def get(*key):
        if (make, key) not in loaded:
            loaded[make, key] = make(*key)
        return loaded[make, key]
    return get


# ---- Encoder: one sequence through the small model ------------------------------------------------------------------


@once
def torch_model():
    midisim = common.load_midisim()
    with common.quiet():
        model, _, _ = midisim.load_model(common.small_checkpoint(), depth=8, device="cpu", verbose=False)
    return midisim, model.eval()


@once
def ids_of(length):
    import numpy as np
    return np.random.default_rng(length).integers(0, 384, length).tolist()


@once
def onnx_session():
    import onnxruntime
    import torch

    class Pooled(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, ids):
            return self.net(ids, return_embeddings=True).mean(dim=1)

    _, model = torch_model()
    with tempfile.TemporaryDirectory() as folder, common.quiet(), torch.no_grad():
        path = os.path.join(folder, "model.onnx")
        torch.onnx.export(Pooled(model), (torch.zeros(1, 64, dtype=torch.long),), path, input_names=["ids"],
                          output_names=["e"], dynamic_axes={"ids": {1: "length"}}, dynamo=False, opset_version=17)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count()
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def torch_f32(length):
    import torch
    _, model = torch_model()
    x = torch.tensor([ids_of(length)])
    mask = torch.ones_like(x, dtype=torch.bool)
    with torch.inference_mode():
        return model(x, return_embeddings=True, mask=mask).mean(dim=1)


def torch_bf16(length):
    import torch
    midisim, model = torch_model()
    return midisim.get_embeddings_bf16(model, [ids_of(length)], seq_len=length, batch_size=1, device=torch.device("cpu"),
                                       return_numpy=True, verbose=False, show_progress_bar=False)


def onnxruntime_f32(length):
    import numpy as np
    return onnx_session().run(None, {"ids": np.array([ids_of(length)])})


# ---- Top k ----------------------------------------------------------------------------------------------------------


@once
def unit_rows(rows, dim, seed):
    import numpy as np
    x = np.random.default_rng(seed).standard_normal((rows, dim), dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@once
def faiss_index(rows, dim):
    import faiss
    index = faiss.IndexFlatIP(dim)
    index.add(unit_rows(rows, dim, 2))
    return index


def numpy_topk(rows, dim, queries, k):
    import numpy as np
    s = unit_rows(queries, dim, 3) @ unit_rows(rows, dim, 2).T
    part = np.argpartition(-s, k, axis=1)[:, :k]
    return np.take_along_axis(part, np.argsort(-np.take_along_axis(s, part, 1), axis=1), 1)


def faiss_flat(rows, dim, queries, k):
    return faiss_index(rows, dim).search(unit_rows(queries, dim, 3), k)


def usearch_exact(rows, dim, queries, k):
    from usearch.index import MetricKind, search
    return search(unit_rows(rows, dim, 2), unit_rows(queries, dim, 3), k, MetricKind.IP, exact=True)


def original_topk(rows, dim, queries, k):
    import torch
    with common.quiet():
        return common.load_midisim().cosine_similarity_topk(unit_rows(queries, dim, 3), unit_rows(rows, dim, 2), topk=k,
                                                            device=torch.device("cpu"), verbose=False)


# ---- MIDI files ------------------------------------------------------------------------------------------------------


@once
def contents(*paths):
    return [open(path, "rb").read() for path in paths]


def symusic_parse(*paths):
    """As midi.py: from paths; files are in the system's memory."""
    import symusic
    for path in paths:
        try:
            symusic.Score(path)
        except Exception:
            pass


def symusic_memory(*paths):
    """From bytes in memory, which spares it the reading."""
    import symusic
    for data in contents(*paths):
        try:
            symusic.Score.from_midi(data)
        except Exception:
            pass


def original_tokens(*paths):
    midisim = common.load_midisim()
    for path in paths:
        with common.quiet():
            midisim.midi_to_tokens(path, transpose_factor=0, verbose=False)


ENGINES = {"torch-f32": torch_f32, "torch-bf16": torch_bf16, "onnxruntime-f32": onnxruntime_f32, "numpy": numpy_topk,
           "faiss-flat": faiss_flat, "usearch-exact": usearch_exact, "original-topk": original_topk,
           "symusic-parse": symusic_parse, "symusic-memory": symusic_memory, "original-tokens": original_tokens}
warm = set()


def answer(order):
    work, arguments = ENGINES[order["engine"]], order["arguments"]
    key = json.dumps(order)
    if key not in warm:
        work(*arguments)
        warm.add(key)
    began = time.perf_counter()
    work(*arguments)
    return {"seconds": time.perf_counter() - began}


for line in sys.stdin:
    try:
        reply = answer(json.loads(line))
    except Exception as error:  # a peer that fails is reported, the others go on
        reply = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    print(json.dumps(reply), file=answers, flush=True)
