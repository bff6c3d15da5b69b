"""The commands of `inkhorn`, a module each: its flags as a dataclass, and `run(argv)`."""
