"""Which models to unload so that another one fits into memory."""

from collections import Counter, OrderedDict

from inkhorn.errors import InkhornError


class BudgetError(InkhornError):
    """A model does not fit. `can_retry`: it would, once requests to others have ended."""

    def __init__(self, message: str, *, can_retry: bool) -> None:
        super().__init__(message)
        self.can_retry = can_retry


class LruBudget:
    """A memory budget of models, with their sizes, users and order of use. It loads and unloads nothing itself.

    Args:
        limit: most bytes of all models together; None is no limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._sizes: OrderedDict[str, int] = OrderedDict()  # least recently used first
        self._pinned: set[str] = set()
        self._users: Counter[str] = Counter()

    @property
    def used(self) -> int:
        """Bytes of all models that are loaded or being loaded."""
        return sum(self._sizes.values())

    def size(self, name: str) -> int:
        """Bytes of a model; 0 if it is not loaded."""
        return self._sizes.get(name, 0)

    def is_pinned(self, name: str) -> bool:
        return name in self._pinned

    def acquire(self, name: str) -> None:
        """Count a user of a model, which need not be loaded yet. A model with users is not unloaded."""
        self._users[name] += 1
        if name in self._sizes:
            self._sizes.move_to_end(name)

    def release(self, name: str) -> bool:
        """Count one user fewer; returns whether that was the last one."""
        self._users[name] -= 1
        if self._users[name]:
            return False
        del self._users[name]
        return True

    def reserve(self, name: str, size: int, *, pin: bool = False) -> list[str]:
        """Add a model; returns the models to unload for it, the least recently used first. They count no longer.

        Args:
            pin: never unload it.

        Raises:
            BudgetError: it does not fit beside the models that are pinned or have users; nothing has changed.
        """
        freed, victims = 0, []
        if self.limit is not None:
            excess = self.used + size - self.limit
            for other, other_size in self._sizes.items():
                if freed >= excess:
                    break
                if other not in self._pinned and other not in self._users:
                    victims.append(other)
                    freed += other_size
            if freed < excess:
                raise self._too_large(name, size, self.limit)
        for victim in victims:
            del self._sizes[victim]
        self._sizes[name] = size
        if pin:
            self._pinned.add(name)
        return victims

    def remove(self, name: str) -> None:
        """Take away a model that could not be loaded."""
        self._sizes.pop(name, None)

    def _too_large(self, name: str, size: int, limit: int) -> BudgetError:
        pinned = sum(self._sizes[other] for other in self._pinned if other in self._sizes)
        message = f"model {name} needs {mib(size)} of memory, and the server has {mib(limit)} for models"
        if pinned:
            message += f", of which pinned ones take {mib(pinned)}"
        if size + pinned > limit:
            remedy = "start it with more --models-memory, or with fewer --max-num-seqs, whose caches are part of it"
            return BudgetError(f"{message}: {remedy}", can_retry=False)
        busy = ", ".join(sorted(other for other in self._sizes if other in self._users and other not in self._pinned))
        return BudgetError(f"{message}; requests to {busy} are using it: retry later", can_retry=True)


def mib(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 2**20:,.1f} MiB"
