"""llama.cpp through its C API: decodes without sampling, as its own llama-bench does."""

import ctypes
import time
from pathlib import Path
from typing import Any

from inkhorn.checkpoint.weights import read_config
from inkhorn.convert.gguf import write_gguf
from peers import Timing

FILE_TYPES = {"Q8_0": 7, "Q4_0": 2}  # enum llama_ftype


class LlamaCpp:
    """Weights in F16, Q8_0 or Q4_0, quantized by llama.cpp itself."""

    def __init__(self, folder: Path, kind: str, threads: int, sequences: int) -> None:
        import llama_cpp

        self.lib: Any = llama_cpp
        self.name = f"llama.cpp {kind}"
        self._quiet = llama_cpp.llama_log_callback(lambda *_: None)
        self.lib.llama_log_set(self._quiet, ctypes.c_void_p())
        self.lib.llama_backend_init()
        path = folder.parent / f"{folder.name}-{kind}.gguf"
        if not path.exists():
            self._write_model(folder, path, kind)
        self.model = self.lib.llama_model_load_from_file(str(path).encode(), self.lib.llama_model_default_params())
        block_size = read_config(folder).block_size
        params = self.lib.llama_context_default_params()
        params.n_seq_max, params.n_threads, params.n_threads_batch = sequences, threads, threads
        params.n_ctx = block_size if sequences == 1 else 256 * sequences
        params.n_batch = params.n_ctx
        self.context = self.lib.llama_init_from_model(self.model, params)
        assert self.context, f"llama.cpp cannot load {path}"
        self.batch = self.lib.llama_batch_init(params.n_ctx, 0, 1)

    def _write_model(self, folder: Path, path: Path, kind: str) -> None:
        full = folder.parent / f"{folder.name}-F16.gguf"
        if not full.exists():
            write_gguf(folder, full, vocabulary=False)
        if kind != "F16":
            params = self.lib.llama_model_quantize_default_params()
            params.ftype = FILE_TYPES[kind]
            status = self.lib.llama_model_quantize(str(full).encode(), str(path).encode(), ctypes.byref(params))
            assert status == 0, f"llama.cpp cannot quantize to {path}"

    def _decode(self, tokens: list[list[int]], position: int) -> None:
        """Process tokens of each sequence and compute the logits after the last of each."""
        batch, n = self.batch, 0
        for sequence, ids in enumerate(tokens):
            for i, token in enumerate(ids):
                batch.token[n], batch.pos[n], batch.n_seq_id[n] = token, position + i, 1
                batch.seq_id[n][0], batch.logits[n] = sequence, i == len(ids) - 1
                n += 1
        batch.n_tokens = n
        assert self.lib.llama_decode(self.context, batch) == 0

    def generate(self, prompts: list[list[int]], new: int) -> Timing:
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        start = time.perf_counter()
        self._decode(prompts, 0)
        first = time.perf_counter() - start
        for step in range(new - 1):
            self._decode([[ids[step % len(ids)]] for ids in prompts], len(prompts[0]) + step)
        return Timing(first, time.perf_counter() - start - first)
