#!/usr/bin/env python3
"""PyTorch on the same card and the same work: scaled_dot_product_attention, and the whole encoder written in it.

  bench/gpu_peers.py [--device cuda|cpu] [--backend flash|cudnn|efficient|math] [--model FILE.safetensors] [--lengths L,...]
                     [--tokens N] [--rounds N] [--square N]

One JSON object a case, as bench/gpu_bench.c prints them; each names what computed it. Attention is timed with each of
PyTorch's backends, the encoder with one (--backend, default flash), and a backend that refuses is a case that says so: left to
itself PyTorch chooses, and no figure would say what it was of. The encoder is docs/MODEL.md in bf16 the way its users would
write it: sequences of one length as a batch without padding, linear layers and attention in bf16, norms and the residual
stream in f32, weights of the model where one is given (else random: times do not depend on them); `--vectors OUT.npy`
also embeds the ids of `--ids FILE` (one JSON list a line), to be compared with ours. Needs torch and numpy.
"""
import argparse
import json
import struct
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

HEAD = 64
# PyTorch's names for what computes scaled_dot_product_attention.
BACKENDS = {"flash": "FLASH_ATTENTION", "cudnn": "CUDNN_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "math": "MATH"}


def pinned(backend):
    """For a `with`: this backend and no other, or an error."""
    return sdpa_kernel([getattr(SDPBackend, BACKENDS[backend])])


def read_safetensors(path):
    """{name: f32 tensor}; matrices that are stored in bf16 come as they are."""
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        head = json.loads(file.read(size))
        data = file.read()
    out = {}
    for name, about in head.items():
        if name == "__metadata__":
            continue
        raw = np.frombuffer(data[slice(*about["data_offsets"])], {"F32": "<f4", "BF16": "<u2"}[about["dtype"]])
        if about["dtype"] == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        out[name] = torch.from_numpy(raw.reshape(about["shape"]).copy())
    return out


def random_weights(dim=512, depth=8, heads=8, vocab=386):
    """The small model's shapes."""
    g = torch.Generator().manual_seed(1)
    inner, ff = heads * HEAD, 4 * dim
    out = {"token_emb.emb.weight": torch.randn(vocab, dim, generator=g), "attn_layers.final_norm.gamma": torch.zeros(dim),
           "attn_layers.rotary_pos_emb.inv_freq": 10000.0 ** (-torch.arange(0, 32, 2) / 32)}
    for block in range(depth):
        a, f = f"attn_layers.layers.{2 * block}.", f"attn_layers.layers.{2 * block + 1}."
        shapes = {a + "1.to_q.weight": (inner, dim), a + "1.to_k.weight": (inner, dim), a + "1.to_v.weight": (inner, dim),
                  a + "1.to_out.weight": (dim, inner), f + "1.ff.0.0.weight": (ff, dim), f + "1.ff.2.weight": (dim, ff)}
        out |= {k: torch.randn(*s, generator=g) * s[1] ** -0.5 for k, s in shapes.items()}
        out |= {a + "0.0.gamma": torch.zeros(dim), f + "0.0.gamma": torch.zeros(dim), f + "1.ff.0.0.bias": torch.zeros(ff),
                f + "1.ff.2.bias": torch.zeros(dim)}
    return out


class Encoder:
    def __init__(self, weights, device):
        w = {k: v.to(device) for k, v in weights.items()}
        half = {k: v.to(torch.bfloat16) for k, v in w.items() if "layers.layers" in k and "gamma" not in k}
        self.device, self.table = device, w["token_emb.emb.weight"]
        self.dim, self.final = self.table.shape[1], 1 + w["attn_layers.final_norm.gamma"]
        self.inv_freq, self.blocks, n = w["attn_layers.rotary_pos_emb.inv_freq"], [], 0
        while f"attn_layers.layers.{n}.0.0.gamma" in w:
            a, f = f"attn_layers.layers.{n}.", f"attn_layers.layers.{n + 1}."
            self.blocks.append((1 + w[a + "0.0.gamma"], torch.cat([half[f"{a}1.to_{x}.weight"] for x in "qkv"]),
                                half[a + "1.to_out.weight"], 1 + w[f + "0.0.gamma"], half[f + "1.ff.0.0.weight"],
                                half[f + "1.ff.0.0.bias"], half[f + "1.ff.2.weight"], half[f + "1.ff.2.bias"]))
            n += 2
        self.heads = self.blocks[0][1].shape[0] // (3 * HEAD)

    def flops(self, n_seq, length):
        inner = self.heads * HEAD
        return n_seq * len(self.blocks) * (2 * (4 * self.dim * inner + 8 * self.dim ** 2) * length + 4 * inner * length ** 2)

    def norm(self, x, scale):
        return F.layer_norm(x, (self.dim,), scale, None, 1e-5)

    def rotate(self, t, cos, sin):
        """Pairs (2 j, 2 j + 1) of the first 32 components."""
        first, rest = t[..., :32].float(), t[..., 32:]
        even, odd = first[..., 0::2], first[..., 1::2]
        turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)
        return torch.cat((turned.to(t.dtype), rest), -1)

    def __call__(self, ids):
        """ids [n_seq, length]: vectors [n_seq, dim]."""
        n, length = ids.shape
        angle = torch.arange(length, device=self.device, dtype=torch.float32)[:, None] * self.inv_freq
        cos, sin = angle.cos(), angle.sin()
        x = self.table[ids]
        for g1, wqkv, wo, g2, w1, b1, w2, b2 in self.blocks:
            h = self.norm(x, g1).to(torch.bfloat16)
            q, k, v = (h @ wqkv.T).view(n, length, 3, self.heads, HEAD).permute(2, 0, 3, 1, 4)
            o = F.scaled_dot_product_attention(self.rotate(q, cos, sin), self.rotate(k, cos, sin), v)
            x = x + F.linear(o.transpose(1, 2).reshape(n, length, -1), wo).float()
            h = self.norm(x, g2).to(torch.bfloat16)
            x = x + F.linear(F.gelu(F.linear(h, w1, b1)), w2, b2).float()
        return self.norm(x, self.final).mean(1)


def times(device, rounds, run):
    """Seconds of each round: by events of the device, of several runs in a round where one is short."""
    run()
    run()
    out, runs = [], 1
    for i in range(-1, rounds):
        if device == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            for _ in range(runs):
                run()
            end.record()
            end.synchronize()
            took = begin.elapsed_time(end) * 1e-3 / runs
            if i < 0:
                runs = max(1, min(200, int(5e-3 / max(took, 1e-7))))
        else:
            began = time.perf_counter()
            run()
            took = time.perf_counter() - began
        if i >= 0:
            out.append(took)
    return sorted(out)


def show(section, case, backend, flops, run_times):
    """One case: its times, or why it was refused."""
    by = f"torch {torch.__version__}" + (f", SDPBackend.{BACKENDS[backend]}" if backend else "")
    about = {"section": section, "case": case, "by": by}
    try:
        seconds = run_times()
        about |= {"seconds": seconds[0], "median": seconds[len(seconds) // 2], "bytes": 0, "flops": flops, "rounds": len(seconds)}
    except (RuntimeError, AttributeError) as error:
        about |= {"seconds": None, "median": None, "bytes": 0, "flops": 0, "rounds": 0,
                  "refused": " ".join(str(error).split())[:200] or type(error).__name__}
    print(json.dumps(about), flush=True)


def rotate_inputs(make, n=4):
    """A function that gives another set at each call, so that no cache holds them."""
    sets, at = [make() for _ in range(n)], [0]

    def get():
        at[0] = (at[0] + 1) % n
        return sets[at[0]]
    return get


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--model")
    parser.add_argument("--lengths", type=lambda t: [int(x) for x in t.split(",")], default=[512, 1024, 2048, 3072])
    parser.add_argument("--tokens", type=int, default=49152)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--square", type=int, default=8192)
    parser.add_argument("--backend", choices=BACKENDS, default="flash", help="of the encoder's attention")
    parser.add_argument("--ids")
    parser.add_argument("--vectors")
    args = parser.parse_args()
    encoder = Encoder(read_safetensors(args.model) if args.model else random_weights(), args.device)
    with torch.inference_mode():
        if args.ids:
            lines = [json.loads(line) for line in open(args.ids, encoding="utf-8")]
            np.save(args.vectors, np.stack([encoder(torch.tensor([ids], device=args.device))[0].cpu().numpy() for ids in lines]))
        time_square(args)
        for length in args.lengths:
            time_encoder(args, encoder, length)
        for length in args.lengths:
            time_attention(args, encoder.heads, length)


def time_square(args):
    n = args.square
    get = rotate_inputs(lambda: [torch.randn(n, n, device=args.device, dtype=torch.bfloat16) for _ in range(2)], 2)
    show("torch-square", f"{n}x{n}x{n}", None, 2.0 * n ** 3,
         lambda: times(args.device, args.rounds, lambda: torch.mm(*get())))


def time_encoder(args, encoder, length):
    n_seq = -(-args.tokens // length)
    ids = rotate_inputs(lambda: torch.randint(0, 384, (n_seq, length), device=args.device))

    def run_times():
        with pinned(args.backend):
            return times(args.device, args.rounds, lambda: encoder(ids()))

    show("torch-encoder", f"{length}, {n_seq} sequences, {n_seq * length} tokens", args.backend,
         encoder.flops(n_seq, length), run_times)


def time_attention(args, heads, length):
    n_seq = -(-args.tokens // length)
    get = rotate_inputs(lambda: [torch.randn(n_seq, heads, length, HEAD, device=args.device, dtype=torch.bfloat16)
                                 for _ in range(3)])
    for backend in BACKENDS:
        if backend == "math" and args.device == "cuda":
            continue  # it keeps all scores, which at 3,072 tokens are gigabytes

        def run_times(backend=backend):
            with pinned(backend):
                return times(args.device, args.rounds, lambda: F.scaled_dot_product_attention(*get()))

        show("torch-attention", f"{length}x{n_seq} {backend}", backend, 4 * n_seq * length ** 2 * heads * HEAD,
             run_times)


if __name__ == "__main__":
    main()
