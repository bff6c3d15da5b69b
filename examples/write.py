"""Write Shakespeare: a text as it comes, three at once, and the same one again.

python write.py ["ROMEO:" [words]]
"""

import sys
import time

import inkhorn


def main(prompt: str = "ROMEO:", words: str = "40") -> None:
    with inkhorn.load() as engine:  # the shipped model; any checkpoint's folder goes here
        params = inkhorn.SamplingParams(max_words=int(words), temperature=0.7, seed=2)

        print(prompt, end="")
        for piece in engine.stream(prompt, params):
            print(piece.text, end="", flush=True)

        names = ["JULIET:", "HAMLET:", "FALSTAFF:"]
        start = time.perf_counter()
        handles = [engine.submit(name, params) for name in names]  # all are being written from here on
        texts = [handle.result() for handle in handles]
        seconds = time.perf_counter() - start
        for name, text in zip(names, texts, strict=True):
            first = text.text.strip().splitlines()[0]
            print(f"\n\n{name} {first} ... ({text.tokens} tokens, ended by its {text.finish_reason})", end="")
        print(f"\n\n{sum(text.tokens for text in texts) / seconds:,.0f} tokens a second, all together")

        alone = engine.complete("HAMLET:", params).text
        print("the same seed alone writes the same:", alone == texts[1].text)


if __name__ == "__main__":
    main(*sys.argv[1:])
