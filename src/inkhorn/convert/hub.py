"""Checkpoints from the Hugging Face hub, downloaded with huggingface_hub: cached, resumable, with a progress bar.

The library is configured by environment variables: HF_HOME (cache), HF_TOKEN (private and gated models; or use
`hf auth login`), HF_ENDPOINT (mirror), HF_HUB_OFFLINE=1 (cache only).
"""

from pathlib import Path

from inkhorn.convert.attention_scale import foldable_config
from inkhorn.errors import CheckpointError
from inkhorn.utils.files import read_json

_OPENAI = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "openai-gpt")
OPENAI = {name: f"openai-community/{name}" for name in _OPENAI} | {"distilgpt2": "distilbert/distilgpt2"}
"""short names of repositories"""

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
_CONFIG_FILES = ("config.json", "generation_config.json", *_TOKENIZER_FILES, "README.md")
_SAFETENSORS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
_PICKLES = ("pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json")


def download_checkpoint(repo: str, revision: str | None = None) -> Path:
    """Download a repository's checkpoint and return its folder in the cache; pickles only if there is nothing else.

    Args:
        repo: OWNER/NAME.
        revision: branch, tag or commit (default: the main branch).

    Raises:
        CheckpointError: the repository does not exist, is not accessible, or is not a GPT-1 or GPT-2.
    """
    from huggingface_hub import hf_hub_download, snapshot_download

    try:
        config = Path(hf_hub_download(repo, "config.json", revision=revision))
        foldable_config(read_json(config))  # before the weights: it may be a large model of another kind
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=[*_CONFIG_FILES, *_SAFETENSORS]))
        if not any((folder / name).exists() for name in _SAFETENSORS):
            folder = Path(snapshot_download(repo, revision=revision, allow_patterns=[*_CONFIG_FILES, *_PICKLES]))
        return folder
    except CheckpointError:
        raise
    except Exception as error:  # of several libraries
        what, reason = f"{repo} at {revision}" if revision else repo, " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"cannot download {what} from the Hugging Face hub ({type(error).__name__}): {reason} Alternatively "
            "download the folder yourself and give its path"
        ) from None
