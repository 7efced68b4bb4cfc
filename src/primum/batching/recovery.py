"""What becomes of the items of a batch that failed: parts of it that run again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from primum.batching.priority import BACKGROUND, CLASSES
from primum.batching.release import Failure
from primum.batching.request import Item, ItemState
from primum.errors import ExecutorDied, OutputCountError


class Retries:
    """Parts of failed batches, by the highest class among their members; halves run before what came later."""

    __slots__ = ("_groups", "count")

    def __init__(self) -> None:
        self._groups: tuple[list[list[Item]], ...] = tuple([] for _ in range(CLASSES))
        self.count = 0
        """Items that wait to run again."""

    def split(self, items: list[Item]) -> None:
        """Both halves of what remains of a failed batch run next of their class, in order. At least two items."""
        middle = (len(items) + 1) // 2
        self.first_of_all([items[:middle], items[middle:]])

    def first_of_all(self, groups: list[list[Item]]) -> None:
        """Each group runs again together, in this order, before other groups of its class."""
        for group in reversed(groups):
            for item in group:
                item.state = ItemState.RETRYING
            self._groups[min(item.level for item in group)].insert(0, group)
            self.count += len(group)

    def remove(self, item: Item) -> None:
        """`item` will not run again."""
        for groups in self._groups:
            for group in groups:
                if item in group:
                    group.remove(item)
                    self.count -= 1
                    if not group:
                        groups.remove(group)
                    return

    def first(self, level: int) -> list[Item] | None:
        """The group of class `level` that runs next, still waiting."""
        return self._groups[level][0] if self._groups[level] else None

    def oldest(self) -> list[Item] | None:
        """The group with the oldest member; the background apart."""
        groups = [group for groups in self._groups[:BACKGROUND] for group in groups]
        return min(groups, key=lambda group: min(item.enqueued for item in group)) if groups else None

    def take(self, group: list[Item]) -> None:
        """`group` runs again or is taken apart."""
        for groups in self._groups:
            # By identity: equal lists do not occur, but comparing their members would cost.
            for place, waiting in enumerate(groups):
                if waiting is group:
                    del groups[place]
                    self.count -= len(group)
                    return

    def costs(self, most: int) -> list[tuple[Hashable, int]]:
        """(bucket, size) of each group of class `most` and above."""
        return [
            (group[0].bucket, sum(item.cost for item in group))
            for groups in self._groups[: most + 1]
            for group in groups
        ]

    def __iter__(self) -> Iterator[Item]:
        return (item for groups in self._groups for group in groups for item in group)


_OOM_NAMES = {"OutOfMemoryError", "MemoryError"}
_OOM_WORDS = ("out of memory", "bad_alloc", "failed to allocate memory", "cannot allocate memory")


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of any runtime means that memory ran out: by its type's name or its words."""
    if any(kind.__name__ in _OOM_NAMES for kind in type(error).__mro__):
        return True
    words = str(error).lower()
    return any(phrase in words for phrase in _OOM_WORDS)


def failure_of(error: BaseException) -> Failure:
    """What kind of failure an exception of a model call is."""
    if isinstance(error, OutputCountError):
        return Failure.OUTPUT_COUNT
    if isinstance(error, ExecutorDied):
        return Failure.DIED
    return Failure.OUT_OF_MEMORY if ran_out_of_memory(error) else Failure.ERROR
