"""The commands of `inkhorn`, a module each: its flags as a dataclass, and `run(argv)`. `cli.py` imports only the one asked for."""
