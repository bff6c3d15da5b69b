"""The memory budget of the models: what is unloaded, and what never is."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.server.lru_budget import BudgetError, LruBudget

NAMES = "abcdef"
MIB = 2**20


def test_least_recently_used_is_unloaded() -> None:
    budget = LruBudget(30)
    for name in "abc":
        assert budget.reserve(name, 10) == []
    budget.acquire("a")
    budget.release("a")  # b is now the least recently used
    assert budget.reserve("d", 10) == ["b"]
    assert budget.reserve("e", 15) == ["c", "a"]
    assert (budget.used, budget.size("d"), budget.size("a")) == (25, 10, 0)


def test_pinned_and_used_models_stay() -> None:
    budget = LruBudget(30 * MIB)
    budget.reserve("pinned", 10 * MIB, pin=True)
    budget.acquire("busy")  # before it is loaded
    budget.reserve("busy", 10 * MIB)
    with pytest.raises(BudgetError, match=r"requests to busy are using it: retry later") as found:
        budget.reserve("c", 15 * MIB)
    assert found.value.can_retry
    message = r"c needs 21.0 MiB .* 30.0 MiB .* pinned ones take 10.0 MiB: .*--models-memory"
    with pytest.raises(BudgetError, match=message) as found:
        budget.reserve("c", 21 * MIB)
    assert not found.value.can_retry
    assert budget.release("busy")
    assert budget.reserve("c", 15 * MIB) == ["busy"]


def test_no_limit() -> None:
    budget = LruBudget()
    assert [budget.reserve(name, 2**40) for name in NAMES] == [[]] * len(NAMES)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.sampled_from(NAMES), st.integers(0, 40), st.booleans()),
        st.tuples(st.sampled_from(["acquire", "release", "remove"]), st.sampled_from(NAMES)),
    ),
    max_size=60,
)


@given(st.integers(0, 100), steps)
def test_rules_hold_for_any_sequence(limit: int, steps: list[tuple[object, ...]]) -> None:
    """Compared with a list of the models in order of use, written down step by step."""
    budget, order = LruBudget(limit), list[str]()
    sizes: dict[str, int] = {}
    users: Counter[str] = Counter()
    pinned: set[str] = set()
    for kind, name, *rest in steps:
        assert isinstance(name, str)
        if kind == "reserve" and name not in sizes:
            size, pin = int(str(rest[0])), bool(rest[1])
            removable = [other for other in order if other not in pinned and not users[other]]
            kept = sum(sizes.values()) - sum(sizes[other] for other in removable)
            if kept + size > limit:
                with pytest.raises(BudgetError) as error:
                    budget.reserve(name, size, pin=pin)
                assert error.value.can_retry == (size + sum(sizes[other] for other in pinned) <= limit)
                continue
            victims = budget.reserve(name, size, pin=pin)
            assert victims == removable[: len(victims)]  # the least recently used ones
            for index, victim in enumerate(victims):
                freed = sum(sizes[other] for other in victims[:index])
                assert sum(sizes.values()) - freed + size > limit, f"{victim} need not be unloaded"
            for victim in victims:
                del sizes[victim]
                order.remove(victim)
            sizes[name] = size
            order.append(name)
            pinned |= {name} if pin else set()
        elif kind == "acquire":
            budget.acquire(name)
            users[name] += 1
            if name in order:
                order.remove(name)
                order.append(name)
        elif kind == "release" and users[name]:
            users[name] -= 1
            assert budget.release(name) == (not users[name])
        elif kind == "remove" and name in sizes and name not in pinned:
            budget.remove(name)
            del sizes[name]
            order.remove(name)
        assert budget.used == sum(sizes.values()) <= limit
        assert all(budget.size(each) == sizes.get(each, 0) for each in NAMES)
