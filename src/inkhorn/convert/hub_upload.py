"""Upload a checkpoint folder to the Hugging Face hub as a model repository: the files, and a model card.

The library is configured by environment variables: HF_TOKEN (or `hf auth login`), HF_ENDPOINT, HF_HUB_OFFLINE.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from inkhorn.checkpoint.card import split_card
from inkhorn.checkpoint.model_card import model_card
from inkhorn.checkpoint.weights import read_config
from inkhorn.errors import CheckpointError, UsageError

CARD = "README.md"
UPLOADED_FILES = (
    CARD,
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
"""What a repository of the hub needs. Training state stays here."""


def check_repo(repo: str) -> None:
    """Raise UsageError unless a name is OWNER/NAME in the hub's form."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(f"--hub {repo}: {' '.join(str(error).split())}") from None
    if repo.count("/") != 1:
        raise UsageError(f"--hub {repo}: give OWNER/NAME, for example --hub {repo.strip('/') or 'you'}/my-gpt")


def hub_card(folder: Path, repo: str) -> str:
    """The model card of the repository: that of the folder, or a new one, with the repository's name in its program.

    Raises:
        CheckpointError: the folder's card has no valid metadata.
    """
    config = read_config(folder)
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
    except FileNotFoundError:
        text = model_card(config, repo.split("/")[1], {})
    except ValueError as error:
        raise CheckpointError(f"{folder / CARD} is not UTF-8 text: {error}") from None
    try:
        header, _ = split_card(text)
    except (ValueError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise CheckpointError(
            f"{folder / CARD}: its metadata, the YAML between two lines ---, is invalid: {first}"
        ) from None
    for name in ("library_name", "pipeline_tag"):  # the hub shows neither the program nor the model's page without them
        if name not in header:
            raise CheckpointError(f"{folder / CARD}: its metadata lacks {name}, such as {name}: {_EXAMPLES[name]}")
    return text.replace("path/to/this/folder", repo)


_EXAMPLES = {"library_name": "transformers", "pipeline_tag": "text-generation"}


@contextmanager
def staged(folder: Path, repo: str) -> Iterator[Path]:
    """A temporary folder with what is uploaded; large files are links."""
    if not (folder / "model.safetensors").is_file():
        raise CheckpointError(
            f"{folder} has no model.safetensors, which others load: export the unpacked checkpoint instead"
        )
    card = hub_card(folder, repo)
    with tempfile.TemporaryDirectory() as name:
        for file in UPLOADED_FILES:
            if file != CARD and (folder / file).is_file():
                (Path(name) / file).symlink_to((folder / file).resolve())
        (Path(name) / CARD).write_text(card, encoding="utf-8")
        yield Path(name)


def upload(folder: Path, repo: str, *, private: bool = False) -> str:
    """Create the repository if there is none, and add the files of a staged folder in one commit.

    Returns:
        The address of the commit.

    Raises:
        CheckpointError: there is no token, or the hub refused something or cannot be reached.
    """
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise CheckpointError("the hub needs a token: run `hf auth login`, or set HF_TOKEN to a token that may write")
    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload with Inkhorn").commit_url)
    except Exception as error:  # of several libraries
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"cannot upload to {repo} ({type(error).__name__}): {reason}") from None
