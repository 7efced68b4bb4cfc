"""Lines and the queue: order, sums and who is turned away first."""

from hypothesis import given
from hypothesis import strategies as st

from primum.batching.priority import Priority
from primum.batching.queue import Line, Queue
from primum.batching.request import Item, ItemState

deadlines = st.sampled_from([1.0, 2.0, 3.0, float("inf")])
steps = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(list(Priority)), deadlines, st.integers(1, 4)))


def items_of(given_steps):
    return [Item(k, bucket=b, priority=p, deadline=d, cost=c) for k, (b, p, d, c) in enumerate(given_steps)]


@given(st.lists(st.tuples(deadlines, st.booleans()), max_size=100))
def test_a_line_is_in_order_of_deadline_and_then_of_arrival(pairs):
    line, items = Line(), []
    for k, (deadline, leaves) in enumerate(pairs):
        item = Item(k, deadline=deadline)
        item.state = ItemState.QUEUED
        line.push(item)
        items.append(item)
        if leaves:
            gone = items.pop(k % len(items))
            gone.state = ItemState.DONE
            line.left(gone)
            line.sweep()
    expected = sorted(items, key=lambda item: (item.deadline, item.id))
    assert list(line) == expected
    assert line.count == line.cost == len(items)
    if items:
        assert line.head() is expected[0]


@given(steps, st.data())
def test_sums_follow_what_comes_and_leaves(given_steps, data):
    queue, live = Queue(), []
    for item in items_of(given_steps):
        queue.push(item)
        live.append(item)
        if data.draw(st.booleans()):
            gone = live.pop(data.draw(st.integers(0, len(live) - 1)))
            queue.remove(gone, ItemState.DONE)
            queue.sweep(gone.bucket)
    assert queue.cost == sum(i.cost for i in live)
    assert queue.count == len(live)
    assert queue.with_deadline == sum(i.deadline < float("inf") for i in live)
    assert queue.by_class() == {p: sum(i.priority is p for i in live) for p in Priority}
    starving = [i for i in live if i.priority is not Priority.BACKGROUND]
    assert queue.oldest() is (min(starving, key=lambda i: i.id) if starving else None)
    for level in range(3):
        heads = queue.heads(level)
        assert {h.bucket for h in heads} == {i.bucket for i in live if i.level == level}
        assert [h.deadline for h in heads] == sorted(h.deadline for h in heads)


@given(steps)
def test_the_lowest_class_and_latest_deadline_are_turned_away_first(given_steps):
    queue, items = Queue(), items_of(given_steps)
    for item in items:
        queue.push(item)
    order = [(i.level, i.deadline) for i in queue.last_first(0)]
    assert order == sorted(((i.level, i.deadline) for i in items if i.level > 0), reverse=True)


@given(st.lists(deadlines, min_size=1, max_size=30), deadlines)
def test_work_ahead_is_what_goes_before_a_newcomer(given_deadlines, mine):
    line = Line()
    for k, deadline in enumerate(given_deadlines):
        item = Item(k, deadline=deadline)
        item.state = ItemState.QUEUED
        line.push(item)
    assert line.cost_before(mine) == sum(d <= mine for d in given_deadlines)
