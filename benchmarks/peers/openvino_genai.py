r"""OpenVINO GenAI with 8-bit weights, exported by optimum-intel; samples at temperature 0.8.

optimum-intel needs versions of other packages that differ from Inkhorn's, so it exports in an environment of its own:

    python -m venv optimum
    optimum/bin/pip install torch==2.13.0
    optimum/bin/pip install 'optimum-intel[openvino]==2.2.0' torch==2.13.0
    optimum/bin/optimum-cli export openvino --model MODEL --task text-generation-with-past \
        --weight-format int8 MODEL-ov-int8

MODEL is a folder of the benchmark's cache (`--cache`), such as `gpt2`.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from peers import Timing


def exported(folder: Path) -> Path:
    """Where the exported model is expected."""
    return folder.parent / f"{folder.name}-ov-int8"


class OpenVINOGenAI:
    """Weights in int8."""

    def __init__(self, folder: Path, threads: int) -> None:
        import openvino as ov
        import openvino_genai

        self.name = "OpenVINO GenAI int8"
        self.lib: Any = openvino_genai
        self.tensor = ov.Tensor
        self.pipeline = openvino_genai.LLMPipeline(str(exported(folder)), "CPU", INFERENCE_NUM_THREADS=threads)

    def generate(self, prompts: list[list[int]], new: int) -> Timing:
        ids = np.array(prompts, dtype=np.int64)
        inputs = self.lib.TokenizedInputs(self.tensor(ids), self.tensor(np.ones_like(ids)))
        seconds = []
        for count in (1, new) if new > 1 else (1,):  # the first token is timed in a separate run
            config = self.lib.GenerationConfig(
                do_sample=True, temperature=0.8, max_new_tokens=count, min_new_tokens=count, ignore_eos=True
            )
            start = time.perf_counter()
            result = self.pipeline.generate(inputs, config)
            seconds.append(time.perf_counter() - start)
            assert all(len(tokens) == count for tokens in result.tokens)
        return Timing(seconds[0], seconds[-1] - seconds[0])
