"""Generate Shakespeare: streaming, a batch of three, and reproducibility.

python generate.py ["ROMEO:" [MAX_WORDS]]
"""

import sys
import time

import inkhorn


def main(prompt: str = "ROMEO:", words: str = "40") -> None:
    with inkhorn.load("shakespeare") as model:  # or the path of a checkpoint folder
        params = inkhorn.SamplingParams(max_words=int(words), temperature=0.7, seed=2)

        print(prompt, end="")
        for chunk in model.stream(prompt, params):
            print(chunk.text, end="", flush=True)

        names = ["JULIET:", "HAMLET:", "FALSTAFF:"]
        start = time.perf_counter()
        completions = model.generate(names, params)  # one batch
        seconds = time.perf_counter() - start
        for name, completion in zip(names, completions, strict=True):
            first = completion.text.strip().splitlines()[0]
            print(
                f"\n\n{name} {first} ... ({completion.num_tokens} tokens, finish reason {completion.finish_reason})",
                end="",
            )
        num_tokens = sum(completion.num_tokens for completion in completions)
        print(f"\n\n{num_tokens / seconds:,.0f} tokens per second in total")

        alone = model.generate("HAMLET:", params)
        print("the same seed gives the same text outside a batch:", alone == completions[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
