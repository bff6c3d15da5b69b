"""The optimizers: AdamW, and Muon for the matrices inside the blocks.

Muon (Keller Jordan et al. 2024) takes each matrix's momentum and replaces it by the nearest matrix whose singular
values are all 1, so that every direction of the matrix moves equally far. It treats the fused c_attn as three matrices:
as one, whichever of query, key and value has the largest gradient would leave little of the update to the others.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from inkhorn.config.train import TrainConfig
from inkhorn.model import GPT
from inkhorn.training.parallel import distribute_like, full_tensor

# Five steps of x -> a x + b x^3 + c x^5 take singular values from (0, 1] to about 1 +- 0.3, close enough:
# Jordan's coefficients trade exactness at 1 for the steepest slope at 0.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, steps: int = 5, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Set the singular values of each matrix to about 1, keeping its singular vectors.

    Args:
        matrices: (n, rows, cols), one batch of equal shapes.
        steps: Newton-Schulz iterations, three matrix products each.
        dtype: of the products; bfloat16 is precise enough, since the result is approximate.

    Returns:
        (n, rows, cols) in `dtype`.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    if tall:  # the products below are of size rows x rows: make that the smaller side
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # singular values at most 1
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    result: Tensor = x.mT if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalized updates.

    Args:
        params: parameter groups of matrices (out, in), each with `parts`: the number of equal matrices stacked in
            one (3 for c_attn).
        lr: the learning rate: the size of an update, as a root mean square over its singular values.
        momentum: Nesterov momentum.
        weight_decay: decoupled weight decay, scaled by lr.
        dtype: the precision of the orthogonalization.
    """

    def __init__(
        self,
        params: Iterable[dict[str, object]],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.dtype = dtype
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "parts": 1})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix; matrices of the same shape are orthogonalized in one batch.

        Sharded momentum is gathered, because singular values need the full matrix, and each process applies its part
        of the result. All processes must call this.
        """
        assert closure is None
        batches: dict[tuple[int, int], list[tuple[Tensor, Tensor, int, float]]] = defaultdict(list)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if not self.state[parameter]:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
                buffer, parts = self.state[parameter]["momentum_buffer"], group["parts"]
                buffer.lerp_(parameter.grad, 1 - group["momentum"])
                direction = parameter.grad.lerp(buffer, group["momentum"])  # Nesterov's lookahead
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                rows, cols = parameter.shape[0] // parts, parameter.shape[1]
                batches[min(rows, cols), max(rows, cols)].append((parameter, direction, parts, group["lr"]))
        for shape, batch in batches.items():
            matrices = [(parameter, full_tensor(whole).chunk(parts), lr) for parameter, whole, parts, lr in batch]
            pieces = [piece for _, chunks, _ in matrices for piece in chunks]
            wide = torch.stack([piece if piece.shape == shape else piece.mT for piece in pieces])
            results = iter(orthogonalize(wide, dtype=self.dtype))
            for parameter, chunks, lr in matrices:
                updates = []
                for piece in chunks:
                    result = next(results)
                    # A matrix with more outputs than inputs gets a larger update, so that its outputs change as much.
                    scale = max(1.0, piece.shape[0] / piece.shape[1]) ** 0.5
                    updates.append(lr * scale * (result if piece.shape == shape else result.mT).to(piece.dtype))
                parameter.sub_(distribute_like(torch.cat(updates), parameter))


def make_optimizers(
    model: GPT, config: TrainConfig, dtype: torch.dtype = torch.bfloat16
) -> list[torch.optim.Optimizer]:
    """AdamW on everything, or Muon on the blocks' matrices and AdamW on the rest; every parameter in exactly one.

    Weight decay applies to matrices and embeddings, not to biases and LayerNorm gains. Each group stores its peak
    learning rate as `peak_lr`, which the schedule scales, and `full_weight_decay`, which the schedule switches on.
    """
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    use_muon = config.optimizer == "muon" and not config.lora_rank  # adapters are not orthogonalized
    muon = [spec for spec in model.config.tensor_specs() if use_muon and spec.is_linear]
    rest = named.keys() - {spec.name for spec in muon}
    betas = (config.beta1, config.beta2)
    adamw_groups = [
        {"params": [p for n, p in named.items() if n in rest and p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for n, p in named.items() if n in rest and p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(adamw_groups, lr=config.lr, betas=betas, eps=1e-10)]
    if use_muon:
        groups: list[dict[str, object]] = [
            {"params": [named[spec.name] for spec in muon if spec.fused_parts == parts], "parts": parts}
            for parts in sorted({spec.fused_parts for spec in muon}, reverse=True)
        ]
        optimizers.append(Muon(groups, config.muon_lr, config.momentum, config.weight_decay, dtype))
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["peak_lr"] = group["lr"]
        group["full_weight_decay"] = group["weight_decay"]
    assert_partition(list(named.values()), optimizers)
    return optimizers


def assert_partition(parameters: list[nn.Parameter], optimizers: list[torch.optim.Optimizer]) -> None:
    """Check that every parameter is in exactly one group of one optimizer: one that never trains is a costly bug."""
    owned = [id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in parameters), "a parameter is in no optimizer group, or in several"


def optimizer_tensors(model: GPT, optimizers: list[torch.optim.Optimizer], step: int) -> dict[str, Tensor]:
    """The optimizer state of each parameter after `step` updates, as "parameter.state" names.

    State that does not exist yet is created as zeros.
    """
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, Tensor] = {}
    for optimizer in optimizers:
        kinds = ("momentum_buffer",) if isinstance(optimizer, Muon) else ("exp_avg", "exp_avg_sq")
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            kept = optimizer.state[parameter]
            if not kept:
                kept.update({kind: torch.zeros_like(parameter) for kind in kinds})
                if not isinstance(optimizer, Muon):
                    kept["step"] = torch.tensor(float(step))
            found |= {f"{name_of[id(parameter)]}.{kind}": kept[kind] for kind in kinds}
    return found
