"""Learning rate and momentum schedules: pure functions of the step, so that a resumed run repeats them exactly."""

import math

from inkhorn.config.train import TrainConfig


def rate(step: int, config: TrainConfig) -> float:
    """The factor on all learning rates at `step` (0-based): linear warmup to 1, then decay.

    `linear` stays at 1 and decays linearly over the last `cooldown_frac` of the steps; `cosine` decays along half a
    cosine after warmup. Both end at `final_lr_frac` after the last step.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "linear":
        length = min(config.steps - config.warmup_steps, round(config.steps * config.cooldown_frac))
        left = min(1.0, (config.steps - step) / max(1, length))  # 1 until the cooldown starts, 0 at the end
    else:
        progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
        left = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return config.final_lr_frac + (1.0 - config.final_lr_frac) * max(0.0, left)


def momentum(step: int, config: TrainConfig) -> float:
    """Muon's momentum at `step`: from 0.85 up to `momentum` over `momentum_warmup` steps.

    Early gradients are outdated soon, because the weights change fast; low momentum forgets them sooner.
    """
    start = min(0.85, config.momentum)
    share = min(1.0, step / config.momentum_warmup) if config.momentum_warmup else 1.0
    return start + (config.momentum - start) * share
