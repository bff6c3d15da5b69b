"""lm-eval's harness on a checkpoint: any of its tasks, tasks in this package, and a user's own YAML files."""

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import simple_parse_args_string
from tqdm import tqdm

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.config.sampling import SamplingParams
from inkhorn.config.train import TrainConfig
from inkhorn.errors import CorpusError, UsageError, nearest, require
from inkhorn.evaluation.loglikelihood import TokenScores, join_scores, rolling_windows, score_windows
from inkhorn.hardware.device import Hardware, select_device
from inkhorn.inference.engine import Engine
from inkhorn.model import GPT
from inkhorn.tokenizer.load import load_tokenizer

TASKS = Path(__file__).parent / "tasks"  # our own tasks

DEFAULT_BATCH_SIZE = 64
"""Most rows of a forward pass."""

_FEWSHOT_SEED = 1234  # lm-eval's own

Loglikelihood = tuple[float, bool]

REDUCTIONS: dict[str, Callable[[TokenScores], Loglikelihood]] = {
    "sum": lambda scores: (scores.total, all(scores.greedy)),
    "token_mean": lambda scores: (scores.total / len(scores.logprobs), all(scores.greedy)),
    "last_token": lambda scores: (scores.logprobs[-1], scores.greedy[-1]),
}
"""How a task's `metadata: {loglikelihood: NAME}` combines the tokens of a continuation; lm-eval itself always sums."""


@register_model("inkhorn")
class InkhornLM(TemplateLM):  # type: ignore[misc]  # lm-eval is untyped
    """A checkpoint folder as a model of lm-eval, where its name is `inkhorn`.

    Args:
        batch_size: most rows of a forward pass.
        reductions: by task name, a key of REDUCTIONS; others are summed.

    Attributes:
        truncated: contexts so far that were longer than the model's context and lost their beginning.
        replaced: characters so far that are not in the vocabulary and were replaced or dropped.
        unscorable: continuations so far of which no character is in the vocabulary; they count as impossible.
    """

    def __init__(
        self,
        folder: Path,
        hardware: Hardware,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        reductions: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.hardware, self.batch_size = folder, hardware, batch_size
        self.vocabulary = load_tokenizer(folder)
        self.model = GPT.from_pretrained(folder).to(hardware.device).eval()
        self.reductions = reductions or {}
        self.truncated = self.replaced = self.unscorable = 0
        self._pending: list[str] = []

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> "InkhornLM":
        """The model for lm-eval's `--model_args pretrained=MODEL,dtype=float32`, `--device` and `--batch_size`.

        Raises:
            UsageError: an argument is unknown or has a wrong value.
            CheckpointError: `pretrained` is no model.
        """
        given = {name: value for name, value in (additional_config or {}).items() if value is not None} | arg_dict
        given.pop("max_batch_size", None)  # for its `--batch_size auto`
        known = ("pretrained", "device", "dtype", "batch_size")
        for name in given:
            require(name in known, f"model_args: unknown argument {name}; inkhorn takes {', '.join(known)}")
        size = str(given.get("batch_size", DEFAULT_BATCH_SIZE))
        require(size.isdecimal() and int(size) > 0, f"batch_size must be a positive integer, not {size}")
        hardware = select_device(TrainConfig(device=given.get("device", "auto"), dtype=given.get("dtype", "float32")))
        return cls(resolve_checkpoint(given.get("pretrained", "shakespeare")), hardware, batch_size=int(size))

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> "InkhornLM":
        """As `create_from_arg_obj`, for arguments in one string."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @property
    def prefix_token_id(self) -> int:
        """The token that precedes a text without context, as in lm-eval's model for transformers."""
        bos = self.model.config.bos_token_id
        return self.eot_token_id if bos is None else bos

    @property
    def eot_token_id(self) -> int:
        """The end-of-text token."""
        if self.model.config.eos_token_id is not None:
            return self.model.config.eos_token_id
        if self.vocabulary.eos_id is not None:
            return self.vocabulary.eos_id
        return self.model.config.bos_token_id or 0

    @property
    def tokenizer_name(self) -> str:
        return str(self.folder)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:  # noqa: ARG002
        normalized, unknown = self.vocabulary.normalize(string)
        self.replaced += sum(character.count for character in unknown)
        return [int(token) for token in self.vocabulary.encode(normalized)]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Loglikelihood]:
        self._pending = [self.reductions.get(str(request.task_name), "sum") for request in requests]
        pairs = []
        for context, continuation in (request.args for request in requests):
            if context.strip():
                pairs.append(((context, continuation), *self._encode_pair(context, continuation)))
            else:
                pairs.append((("", continuation), [self.prefix_token_id], self.tok_encode(context + continuation)))
        return self._loglikelihood_tokens(pairs, disable_tqdm=disable_tqdm)

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], disable_tqdm: bool = False, **_: Any
    ) -> list[Loglikelihood]:
        ids = [(context + continuation, len(context)) for _, context, continuation in requests]
        self.truncated += sum(len(all_ids) > self.model.config.block_size + 1 for all_ids, _ in ids)
        scores = self._score(ids, disable_tqdm)
        reduced = []
        for name, one in zip(self._pending, scores, strict=True):
            self.unscorable += not one.logprobs
            reduced.append(REDUCTIONS[name](one) if one.logprobs else (float("-inf"), False))
        return reduced

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        texts = [([self.prefix_token_id, *self.tok_encode(request.args[0])], 1) for request in requests]
        return [scores.total for scores in self._score(texts, disable_tqdm)]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generate with the engine, in float32."""
        texts = []
        with Engine.from_pretrained(self.folder, precision="fp32") as engine:
            for request in tqdm(requests, "generate_until", disable=disable_tqdm or None):
                context, options = request.args
                stop = options.get("until") or []
                params = SamplingParams(
                    temperature=float(options.get("temperature") or 0) if options.get("do_sample") else 0.0,
                    max_tokens=int(options.get("max_gen_toks", 256)),
                    stop=tuple([stop] if isinstance(stop, str) else stop),
                )
                texts.append(engine.submit(context, params).result().text)
        return texts

    def _score(self, texts: Sequence[tuple[list[int], int]], disable_tqdm: bool) -> list[TokenScores]:
        """The scores of each text, given as token ids and the number of leading ones that are context."""
        windows = [rolling_windows(ids, first, self.model.config.block_size) for ids, first in texts]
        every = [window for text in windows for window in text]
        with tqdm(total=len(every), desc="windows", disable=disable_tqdm or None) as bar:
            scores = iter(score_windows(self.model, every, self.hardware, self.batch_size, bar.update))
        return [join_scores([next(scores) for _ in text]) for text in windows]


def evaluate_tasks(
    folder: Path,
    hardware: Hardware,
    tasks: Sequence[str],
    *,
    include_path: Path | None = None,
    limit: int | None = None,
    num_fewshot: int | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> dict[str, Any]:
    """Run tasks of lm-eval on a checkpoint.

    Args:
        tasks: names of tasks, groups or tags.
        include_path: a folder with further YAML files.
        limit: only the first documents of each task.
        num_fewshot: examples before each document; the task's own number when None.
        batch_size: most rows of a forward pass.

    Returns:
        lm-eval's results, and under "notes" remarks on the scores.

    Raises:
        UsageError: an unknown task, or a folder without tasks.
        CorpusError: the data of a task cannot be loaded.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    paths = [str(TASKS), *([str(include_path)] if include_path else [])]
    manager = TaskManager(include_path=paths)
    for name in tasks:
        if not manager.match_tasks([name]):
            raise UsageError(f"lm-eval has no task {name!r}: {nearest(name, manager.all_tasks)}")
    try:
        loaded = manager.load(list(tasks))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CorpusError(f"cannot load the data of {', '.join(tasks)}: {first}") from None
    metadata = {name: task.config.metadata or {} for name, task in loaded["tasks"].items()}
    reductions = {name: str(found.get("loglikelihood", "sum")) for name, found in metadata.items()}
    unknown = sorted(set(reductions.values()) - set(REDUCTIONS))
    if unknown:
        raise UsageError(f"metadata: loglikelihood must be one of {', '.join(REDUCTIONS)}, not {', '.join(unknown)}")
    model = InkhornLM(folder, hardware, batch_size=batch_size, reductions=reductions)
    for task in loaded["tasks"].values():
        fixed = task.get_config("num_fewshot")  # 0 in a task's own file must stay, as in lm-eval's command
        task.set_config(key="num_fewshot", value=fixed or 0 if num_fewshot is None or fixed == 0 else num_fewshot)
        task.set_fewshot_seed(seed=_FEWSHOT_SEED)
    with redirect_stdout(sys.stderr):  # lm-eval prints its progress there
        results = evaluate(model, loaded, limit=limit, bootstrap_iters=1000, log_samples=False)
    assert results is not None
    counts = (
        (model.truncated, f"inputs were longer than the context of {model.model.config.block_size} tokens"),
        (model.replaced, "characters are not in the vocabulary and were replaced or dropped"),
        (model.unscorable, "continuations have no character in the vocabulary and count as impossible"),
    )
    return {**results, "notes": [f"{count:,} {what}" for count, what in counts if count]}
