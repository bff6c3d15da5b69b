"""Use `inkhorn serve` with OpenAI's client: streaming, log-probabilities, and four completions of one prompt.

python openai_client.py [MODEL]      (pip install openai)
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from openai import OpenAI


@contextmanager
def server(model: str) -> Iterator[str]:
    """Run a server within the block; normally it runs elsewhere, and its address is known."""
    command = [sys.executable, "-m", "inkhorn", "serve", "--port", "0", "--model", model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        try:
            assert found is not None, "the server did not start: pip install 'inkhorn[serve]'"
            yield found[0]
        finally:
            process.terminate()


def main(model: str = "shakespeare") -> None:
    with server(model) as address:
        client = OpenAI(base_url=f"{address}/v1", api_key="none")
        name = client.models.list().data[0].id
        print(f"{address} serves {name}\n")

        finish_reason = None
        for event in client.completions.create(model=name, prompt="JULIET:", max_tokens=120, seed=4, stream=True):
            print(event.choices[0].text, end="", flush=True)
            finish_reason = event.choices[0].finish_reason
        if finish_reason is None:  # a stream that breaks off is no error to the client
            sys.exit("\nthe connection was lost: the text is not complete")

        answer = client.completions.create(
            model=name, prompt="To be, or not to ", max_tokens=3, temperature=0, logprobs=3
        )
        logprobs = answer.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.tokens is not None
        assert logprobs.top_logprobs is not None
        print("\n\nTo be, or not to ...")
        for token, top in zip(logprobs.tokens, logprobs.top_logprobs, strict=True):
            print(f"  {token!r} of", ", ".join(f"{text!r} {2.718281828**value:.1%}" for text, value in top.items()))

        many = client.completions.create(model=name, prompt="KING:", max_tokens=40, n=4, seed=1)
        for choice in many.choices:
            print(f"\n{choice.index}: {choice.text.strip()!r} ({choice.finish_reason})", end="")
        assert many.usage is not None
        print(f"\n\n{many.usage.completion_tokens} tokens")


if __name__ == "__main__":
    main(*sys.argv[1:])
