"""What the unpublished numbers change, as docs/fabric.md says."""

from __future__ import annotations

import numpy as np

from wse.fabric import WSE2
from wse.fabric.examples import chain_reduce
from wse.fabric.sensitivity import VALUES, lines, sensitivity


def test_queues_of_three_words_are_as_good_as_any_and_the_ramp_is_not() -> None:
    rows = sensitivity("chain reduce", chain_reduce(np.ones((16, 64))), WSE2)
    change = {(row.field, row.value): row.change for row in rows}
    assert len(change) == sum(map(len, VALUES.values()))
    for queue in ("router_queue_words", "input_queue_words", "output_queue_words"):
        assert change[queue, 1] > 0.1
        assert change[queue, 3] == change[queue, 8] == 0
    assert change["ramp_cycles", 3] > 0.1 > abs(change["task_start_cycles", 0])
    assert len(lines(rows)) == len(VALUES)
