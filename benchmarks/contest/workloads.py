"""The workloads: a function, and items for it. What the workers execute.

Results are exact and print the same in every process. Nothing is imported here that a
contestant may have to import: that is part of its cold start.
"""

from __future__ import annotations

import functools
import os
import random
import time
import zlib
from pathlib import Path

SEED = 20_260_801
# Pure Python of about a millisecond (see `spin`).
MS = 20_000


def increment(x):
    return x + 1


def spin(n_terms):
    return sum(i * i for i in range(n_terms))


def nap(duration_s):
    time.sleep(duration_s)
    return duration_s


def compress(block):
    return len(zlib.compress(block))


def wave(seed):
    import numpy as np

    values = np.random.default_rng(seed).integers(0, 1000, 40_000)
    return int(np.sort(values * values % 997)[::100].sum())


def reduce_slice(array, i):
    width = 500_000
    start = i * 7919 % (len(array) - width)
    return int((array[start : start + width] % 1021).sum())


def reduce_array(array):
    return int(abs(array - array[0]).max())


def make_array(seed):
    import numpy as np

    return np.random.default_rng(seed).integers(0, 2**40, 500_000)


def count_words(paragraph):
    counts = {}
    for word in paragraph.split():
        counts[word] = counts.get(word, 0) + 1
    return counts


def score_record(record):
    mean = sum(record["values"]) // len(record["values"])
    moments = [
        sum(abs(value - mean) ** power for value in record["values"])
        for power in (2, 3, 4)
    ]
    return {"id": record["id"], "label": record["name"].title(), "moments": moments}


# The workloads: function and list of items, for a scale of the loop's time.


def several(n, scale):
    return max(8, int(n * scale))


def make_trivial(scale):
    return increment, list(range(several(1_000_000, scale)))


def make_python_1ms(scale):
    return spin, [MS] * several(1000, scale)


def make_python_seconds(scale):
    return spin, [20 * MS] * several(200, scale)


def make_skewed(scale):
    rng = random.Random(SEED)
    costs = [rng.lognormvariate(-1.0, 1.5) for _ in range(several(350, scale))]
    return spin, [int(MS * min(cost, 60)) for cost in costs]


def make_giant(scale):
    costs = [MS] * several(200, scale)
    costs[len(costs) * 5 // 8] = int(500 * MS * scale)
    return spin, costs


def make_rising(scale):
    n = several(250, scale)
    return spin, [4 * MS * i // n for i in range(n)]


def make_gil_free(scale):
    rng = random.Random(SEED)
    blocks = (rng.choices(b"abcdefgh \n", k=60_000) for _ in range(several(100, scale)))
    return compress, [bytes(block) for block in blocks]


def make_numpy(scale):
    import numpy as np  # noqa: F401 - an import that everyone's user would have made

    return wave, list(range(several(200, scale)))


def make_waiting(scale):
    rng = random.Random(SEED)
    return nap, [rng.uniform(0.005, 0.010) for _ in range(several(60, scale))]


def make_captured(scale):
    import numpy as np

    array = np.arange(several(16_000_000, min(scale + 0.05, 1.0)))  # 128 MB
    return functools.partial(reduce_slice, array), list(range(several(100, scale)))


def make_big_arguments(scale):
    return reduce_array, [make_array(seed) for seed in range(several(80, scale))]


def make_big_results(scale):
    import numpy as np  # noqa: F401 - an import that everyone's user would have made

    return make_array, list(range(several(60, scale)))


def make_few_heavy(scale):
    return spin, [int(300 * MS * scale)] * 8


def make_text(scale):
    paragraphs, wanted = [], several(40_000, scale)
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        paragraphs += [part for part in text.split("\n\n") if part.strip()]
    return count_words, (paragraphs * (wanted // len(paragraphs) + 1))[:wanted]


def make_random(scale):
    rng = random.Random(SEED)
    costs = [10 ** rng.uniform(-2, 1) for _ in range(several(300, scale))]
    return spin, [int(MS * cost) for cost in costs]


def make_small_records(scale):
    rng = random.Random(SEED)
    return score_record, [
        {
            "id": i,
            "name": f"record {i}",
            "values": rng.choices(range(1000), k=150),
        }
        for i in range(several(7000, scale))
    ]


WORKLOADS = {
    "trivial": make_trivial,
    "python-1ms": make_python_1ms,
    "python-seconds": make_python_seconds,
    "skewed": make_skewed,
    "giant": make_giant,
    "rising": make_rising,
    "gil-free": make_gil_free,
    "numpy": make_numpy,
    "waiting": make_waiting,
    "captured": make_captured,
    "big-arguments": make_big_arguments,
    "big-results": make_big_results,
    "few-heavy": make_few_heavy,
    "text": make_text,
    "random": make_random,
    "small-records": make_small_records,
}
