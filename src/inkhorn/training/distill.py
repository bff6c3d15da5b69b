"""Distillation: a student learns from the averaged probabilities of several teachers (Hinton et al. 2015).

Averaging probabilities instead of logits keeps what one teacher is sure of and the others leave open.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.config.model import ModelConfig
from inkhorn.errors import UsageError
from inkhorn.hardware.device import Hardware
from inkhorn.model import GPT
from inkhorn.tokenizer.base import Tokenizer
from inkhorn.tokenizer.load import load_tokenizer


class Teachers:
    """Frozen models that compute one after the other, so that only one needs memory for its activations.

    Args:
        models: at least one, on the hardware's device, with the student's vocabulary and at least its block size.
        weight: the teachers' share in the loss; the rest is the cross-entropy with the text.
        hardware: of the run.
    """

    def __init__(self, models: Sequence[GPT], weight: float, hardware: Hardware) -> None:
        self.models, self.weight, self.hardware = (
            [model.eval().requires_grad_(False) for model in models],
            weight,
            hardware,
        )
        self._forwards = [torch.compile(model) if hardware.compile else model for model in self.models]

    @torch.no_grad()
    def probabilities(self, idx: Tensor) -> Tensor:
        """The mean of the teachers' probabilities of the next token: (B, T) to (B, T, V), float32."""
        mean: Tensor | None = None
        for forward in self._forwards:
            with self.hardware.autocast():
                logits, _ = forward(idx)
            found = logits.float().softmax(dim=-1)
            mean = found if mean is None else mean.add_(found)
        assert mean is not None
        return mean.div_(len(self.models))

    def mix(self, loss: Tensor, logits: Tensor, idx: Tensor) -> Tensor:
        """The student's loss, in nats per token.

        Args:
            loss: () its cross-entropy with the text.
            logits: (B, T, V) its logits; V may be padded.
            idx: (B, T) its inputs.
        """
        wanted = self.probabilities(idx)  # (B, T, V)
        logprobs = logits.float().log_softmax(dim=-1)[..., : wanted.shape[-1]]
        cross_entropy = -(wanted * logprobs).sum(dim=-1).mean()
        return torch.lerp(loss, cross_entropy, self.weight)


def load_teachers(
    names: Sequence[str], weight: float, config: ModelConfig, tokenizer: Tokenizer, hardware: Hardware
) -> Teachers | None:
    """Load the models of the given names or folders; None if there are none.

    Raises:
        CheckpointError: a folder has no valid model.
        UsageError: a teacher has another vocabulary or a smaller block size than the student.
    """
    if not names:
        return None
    models = []
    for name in names:
        folder = resolve_checkpoint(name)
        model = GPT.from_pretrained(folder)
        if load_tokenizer(folder).fingerprint() != tokenizer.fingerprint():
            raise UsageError(
                f"the teacher {name} has another vocabulary than this run: train it on the same text, or train this "
                f"model with --tokenizer {name}"
            )
        if model.config.block_size < config.block_size:
            raise UsageError(
                f"the teacher {name} has a block size of {model.config.block_size}, this run one of "
                f"{config.block_size}: a teacher must see at least as much"
            )
        models.append(model.to(hardware.device))
    return Teachers(models, weight, hardware)
