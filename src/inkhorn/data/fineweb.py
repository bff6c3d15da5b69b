"""FineWeb-Edu: web pages that a classifier found educational, as many tokens of them as the corpus's name says.

Penedo et al. 2024, "The FineWeb Datasets"; licence ODC-By 1.0. The pages come one after another from the Hugging Face
hub, in the order of its files, and are not kept: of fineweb-edu-10b some 28 GB are read, and 20 GB of ids stay.
"""

import difflib
import re

from inkhorn.data.documents import DocumentSource, from_repository
from inkhorn.data.shard_writer import SHARD_TOKENS
from inkhorn.errors import UsageError

REPOSITORY = "HuggingFaceFW/fineweb-edu"
NAMES = ("fineweb-edu-100m", "fineweb-edu-1b", "fineweb-edu-10b", "fineweb-edu-100b")
"""some of the sizes that there are"""

DESCRIPTION = "educational web pages; SIZE is in tokens: 100m, 1b, 10b, up to 350b; with --tokenizer gpt2"
LICENCE = "ODC-By 1.0"

# The hub has samples of these sizes, in tokens of GPT-2's; a smaller corpus is the beginning of one.
_SAMPLES = {10_000_000_000: "sample-10BT", 100_000_000_000: "sample-100BT", 350_000_000_000: "sample-350BT"}
_NAME = re.compile(r"fineweb-edu-(\d{1,6})([mb])")


def is_fineweb(name: str) -> bool:
    """Whether the name of a corpus is one of these, right or nearly."""
    return name.startswith("fineweb") or bool(difflib.get_close_matches(name, NAMES, n=1, cutoff=0.8))


def fineweb(name: str) -> tuple[DocumentSource, int]:
    """The documents of a corpus by its name, and how many shards of them it has.

    Raises UsageError for a size that there is not.
    """
    found = _NAME.fullmatch(name)
    tokens = int(found[1]) * (10**6 if found[2] == "m" else 10**9) if found else 0
    sample = next((sample for size, sample in _SAMPLES.items() if tokens <= size), None)
    if not tokens or tokens % SHARD_TOKENS or sample is None:
        raise UsageError(
            f"no corpus is called {name!r}: fineweb-edu takes its tokens in the name, such as {', '.join(NAMES)}; "
            f"any multiple of {SHARD_TOKENS // 10**6}m up to {max(_SAMPLES) // 10**9}b"
        )

    command = f"hf download {REPOSITORY} --repo-type dataset --include '{sample.replace('-', '/')}/*'"
    way_out = "With a connection the same command goes on from where it was. Without one, get the files elsewhere with"
    way_out += f"\n    {command} --local-dir fineweb\nand use them with --text fineweb"
    return from_repository("fineweb-edu", REPOSITORY, sample, way_out), tokens // SHARD_TOKENS
