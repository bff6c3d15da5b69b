"""A user's script with the public names. mypy and pyright check it in strict mode (test_typing.py)."""

import asyncio
from pathlib import Path

import inkhorn
from inkhorn import Completion, Explanation, InkhornError, Intervention, Model, ModelConfig, SamplingParams, Score


def write(model: Model, prompts: list[str]) -> list[str]:
    params = SamplingParams(max_tokens=5, temperature=0.8, seed=7)
    completions: list[Completion] = model.generate(prompts, params)
    first: Completion = model.generate(prompts[0], params, max_tokens=3, logprobs=2)
    print(first.logprobs[0].logprob, first.finish_reason)
    return [completion.text for completion in completions]


def look(model: Model) -> float:
    explanation: Explanation = model.explain("ab", layer=0)
    text, probability = explanation.next_tokens[0]
    print(text, explanation.attention.shape, explanation.surprisal.tolist())
    score: Score = model.score("abc")
    result = model.run("ab", interventions=[Intervention(component="mlp", layer=0)])
    print(result["blocks.0.hook_resid_post"].shape, result.logits.shape)
    return score.total + probability


async def stream(model: Model) -> str:
    text = "".join(chunk.text for chunk in model.stream("ab", max_tokens=3))
    async for chunk in model.astream("ab", max_tokens=3):
        text += chunk.text
    return text + (await model.agenerate("ab", max_tokens=3)).text


def main(folder: Path) -> None:
    with inkhorn.load(folder, precision="fp32", threads=1) as model:
        config: ModelConfig = model.config
        print(config.n_layer, model.tokenizer.vocab_size)
        print(write(model, ["a", "b"]), look(model), asyncio.run(stream(model)))
        try:
            model.generate("a", temperature=-1)
        except InkhornError as error:
            print(error)


if __name__ == "__main__":
    main(Path("shakespeare"))
