"""Checkpoints of the Hugging Face hub, through its own library: cached, resumed, with a progress bar.

The library reads its settings from the environment: HF_HOME for the cache, HF_TOKEN or `hf auth login` for private and
gated models, HF_ENDPOINT for a mirror, HF_HUB_OFFLINE=1 for the cache alone.
"""

from pathlib import Path

from inkhorn.config.model import ModelConfig
from inkhorn.errors import CheckpointError
from inkhorn.utils.files import read_json

OPENAI = {
    name: f"openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "openai-gpt")
} | {"distilgpt2": "distilbert/distilgpt2"}
"""names that stand for a repository of the hub"""

_BESIDE = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "README.md",
)
_SAFETENSORS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
_PICKLES = ("pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json")


def fetch(repo: str, revision: str | None = None) -> Path:
    """The folder in the library's cache that holds a repository's checkpoint; pickles only where there is nothing else.

    Args:
        repo: OWNER/NAME.
        revision: branch, tag or commit; the main branch when absent.

    Raises CheckpointError for what is not there, may not be read, is no GPT-1 or GPT-2, or cannot be reached.

    """
    from huggingface_hub import hf_hub_download, snapshot_download

    try:
        config = Path(hf_hub_download(repo, "config.json", revision=revision))
    except Exception as error:  # its own kinds, and those of the HTTP libraries below it
        raise _refusal(repo, revision, error) from None
    ModelConfig.from_hf(read_json(config))  # before its weights come: it may be something else, and large
    try:
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=[*_BESIDE, *_SAFETENSORS]))
        if not any((folder / name).exists() for name in _SAFETENSORS):
            folder = Path(snapshot_download(repo, revision=revision, allow_patterns=[*_BESIDE, *_PICKLES]))
    except Exception as error:
        raise _refusal(repo, revision, error) from None
    return folder


def _refusal(repo: str, revision: str | None, error: Exception) -> CheckpointError:
    what = f"{repo} at {revision}" if revision else repo
    reason = " ".join(str(error).split())[:300]
    return CheckpointError(
        f"cannot fetch {what} from the hub ({type(error).__name__}): {reason} Or download the folder in another way, "
        "and give its path"
    )
