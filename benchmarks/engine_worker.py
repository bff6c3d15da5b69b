"""The engine alone, for benchmarks/serve.py: completes as many requests as the server's clients, without a server.

Reads lines of JSON on standard input ({"clients", "requests", "tokens"}) and answers each with one ({"tokens",
"seconds", "cpu_seconds"}); cpu_seconds is the CPU time of this process, user and system.

    python benchmarks/engine_worker.py MODEL MAX_NUM_SEQS
"""

import json
import sys
import time

from serve import PROMPT

from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.engine import Engine


def measure(engine: Engine, requests: int, tokens: int) -> dict[str, float]:
    """Complete the requests, as many at once as the engine has slots."""
    start, cpu_start = time.perf_counter(), time.process_time()
    handles = [
        engine.submit(PROMPT, SamplingParams(temperature=0.8, seed=seed, max_tokens=tokens, ignore_eos=True))
        for seed in range(requests)
    ]
    total = sum(handle.result().num_tokens for handle in handles)
    return {
        "tokens": total,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu_start,
    }


def main() -> None:
    model, max_num_seqs = sys.argv[1], int(sys.argv[2])
    engines: dict[int, Engine] = {}
    for line in sys.stdin:
        request = json.loads(line)
        slots = min(request["clients"], max_num_seqs)
        if slots not in engines:
            engines[slots] = Engine.from_pretrained(model, max_num_seqs=slots, max_queued=4096)
        print(json.dumps(measure(engines[slots], request["requests"], request["tokens"])), flush=True)


if __name__ == "__main__":
    main()
