# /// script
# dependencies = ["numpy", "safetensors", "tokenizers"]
# ///
"""GPT-2 in NumPy: loads a checkpoint folder and generates.   python numpy_gpt.py FOLDER "ROMEO:" 300"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

Array = np.ndarray[Any, np.dtype[np.float32]]
OUR = {"model_type": "gpt2", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True}


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:  # [T, C] -> [T, C]
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def linear(x: Array, weight: Array, bias: Array) -> Array:  # [T, in], [in, out], [out] -> [T, out]
    return x @ weight + bias


def gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(x: Array, c_attn: list[Array], c_proj: list[Array], n_head: int) -> Array:  # [T, C] -> [T, C]
    T, C = x.shape
    q, k, v = linear(x, *c_attn).reshape(T, 3, n_head, C // n_head).transpose(1, 2, 0, 3)  # 3 of [n_head, T, C/n_head]
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(C // n_head)  # [n_head, T, T]: how much each token attends to each
    scores = np.where(np.tri(T, dtype=bool), scores, -np.inf)  # causal mask
    y = softmax(scores) @ v  # [n_head, T, C/n_head]
    return linear(y.transpose(1, 0, 2).reshape(T, C), *c_proj)


def mlp(x: Array, c_fc: list[Array], c_proj: list[Array]) -> Array:  # [T, C] -> [T, 4C] -> [T, C]
    return linear(gelu(linear(x, *c_fc)), *c_proj)


def gpt2(ids: list[int], weights: dict[str, Array], n_layer: int, n_head: int) -> Array:  # [T] -> [T, V]
    def pair(name: str) -> list[Array]:
        return [weights[f"{name}.{part}"] for part in ("weight", "bias")]

    wte, wpe = weights["wte.weight"], weights["wpe.weight"]
    x = wte[ids] + wpe[: len(ids)]  # [T, C]: token and position embeddings
    for h in [f"h.{i}" for i in range(n_layer)]:
        x += attention(layer_norm(x, *pair(f"{h}.ln_1")), pair(f"{h}.attn.c_attn"), pair(f"{h}.attn.c_proj"), n_head)
        x += mlp(layer_norm(x, *pair(f"{h}.ln_2")), pair(f"{h}.mlp.c_fc"), pair(f"{h}.mlp.c_proj"))
    return layer_norm(x, *pair("ln_f")) @ wte.T  # [T, V]: logits of the next token


def main(folder: str, prompt: str = "\n", length: str = "300") -> None:
    config = json.loads((Path(folder) / "config.json").read_text())
    if other := {key: config[key] for key in OUR if config.get(key, OUR[key]) != OUR[key]}:
        sys.exit(f"{folder} is not supported by this script: it has {other}")
    tensors = load_file(Path(folder) / "model.safetensors")  # some files write transformer.wte.weight, some wte.weight
    weights = {name.removeprefix("transformer."): tensor.astype(np.float32) for name, tensor in tensors.items()}
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    ids, random = tokenizer.encode(prompt).ids or [config.get("bos_token_id") or 0], np.random.default_rng()
    print(prompt, end="")
    for _ in range(int(length)):
        logits = gpt2(ids[-config["n_positions"] :], weights, config["n_layer"], config["n_head"])[-1]
        ids.append(int(random.choice(len(logits), p=softmax(logits.astype(np.float64) / 0.8))))
        print(tokenizer.decode(ids[-1:], skip_special_tokens=False), end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:]) if 2 <= len(sys.argv) <= 4 else print(__doc__)
