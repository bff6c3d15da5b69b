"""Settings of every test: no network, the same examples each time."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports transformers

from hypothesis import settings

settings.register_profile("inkhorn", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("inkhorn")
