"""lm-eval's own command line, in which Inkhorn is one more model:

    python -m inkhorn.evaluation run --model inkhorn --model_args pretrained=shakespeare --tasks TASK

lm-eval finds only the models that it contains and those of modules that were imported. This imports ours and starts it.
"""

import sys

from lm_eval.__main__ import cli_evaluate

import inkhorn.evaluation.harness  # noqa: F401  # registers the model
from inkhorn.errors import InkhornError, UsageError

if __name__ == "__main__":
    try:
        cli_evaluate()
    except InkhornError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2 if isinstance(error, UsageError) else 1)
