"""CTranslate2, with the model converted by its own converter; samples at temperature 0.8."""

import time
from pathlib import Path

from peers import Timing


class CTranslate2:
    """Weights in float32 or int8."""

    def __init__(self, folder: Path, kind: str, threads: int) -> None:
        import ctranslate2

        self.name = f"CTranslate2 {kind}"
        converted = folder.parent / f"{folder.name}-ct2"
        if not converted.exists():
            ctranslate2.converters.TransformersConverter(str(folder)).convert(str(converted))
        self.model = ctranslate2.Generator(str(converted), compute_type=kind, intra_threads=threads, inter_threads=1)

    def generate(self, prompts: list[list[int]], new: int) -> Timing:
        tokens = [[f"t{i}" for i in ids] for ids in prompts]
        seconds = []
        for count in (1, new) if new > 1 else (1,):  # the first token is timed in a separate run
            start = time.perf_counter()
            results = self.model.generate_batch(
                tokens,
                max_length=count,
                min_length=count,
                sampling_topk=0,
                sampling_temperature=0.8,
                include_prompt_in_result=False,
                max_batch_size=len(prompts),
            )
            seconds.append(time.perf_counter() - start)
            assert all(len(result.sequences_ids[0]) == count for result in results)
        return Timing(seconds[0], seconds[-1] - seconds[0])
