"""No server: processes that run the model in a loop, as fast as they can. Prints items a second, of all together.

    python serve.py BATCH SECONDS

What the models alone can do on this machine, with as many processes as BENCH_WORKERS says.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import work

WARM_UP_SECONDS = 1.0


def loop(batch: int, seconds: float, ready: Barrier, rates: multiprocessing.Queue[float]) -> None:
    """One process's share."""
    loaded = work.Work()
    rows = work.np.random.default_rng(0).standard_normal((batch, *loaded.shape), work.np.float32)
    ready.wait(120)
    for length in (WARM_UP_SECONDS, seconds):
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < length:
            loaded.run(rows)
            count += batch
        rate = count / (time.perf_counter() - began)
    rates.put(rate)


def main() -> None:
    """Starts the processes together and adds up their rates."""
    batch, seconds = int(sys.argv[1]), float(sys.argv[2])
    context = multiprocessing.get_context("spawn")
    ready, rates = context.Barrier(work.WORKERS), context.Queue()
    processes = [context.Process(target=loop, args=(batch, seconds, ready, rates)) for _ in range(work.WORKERS)]
    for process in processes:
        process.start()
    print(sum(rates.get(timeout=seconds + 180) for _ in processes))
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
