"""The program behind every sample of Dask: one case, once, in a process of its own, with a cluster of its own.

Takes the request as JSON and prints the figures as the last line of its output, as the programs of the other systems do.
Two worker processes with one thread each, no dashboard, the statistical profiler off.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time

import dask
import numpy
from distributed import Client, LocalCluster, wait
from distributed.diagnostics.plugin import SchedulerPlugin

BATCH = 200
MIB = 2**20


def increment(x):
    return x + 1


def warm_up(duration_ms, batch):
    """Does the work in batches until the time has passed, at least once."""
    end = time.perf_counter() + duration_ms / 1000
    number = 0
    while True:
        batch(number)
        number += 1
        if time.perf_counter() >= end:
            return


def warm_up_range(number, count):
    """Arguments of warm-up tasks are negative: none of them is a task of the measured part."""
    return [-1 - index - number * count for index in range(count)]


def expect_result(actual, expected):
    if actual != expected:
        raise RuntimeError(f"the result is {actual}, it should be {expected}")


def map_case(client, request):
    def batch(number):
        wait(client.map(increment, warm_up_range(number, BATCH)))

    warm_up(request["warmUpMs"], batch)
    tasks = request["sizes"]["tasks"]
    started = time.perf_counter()
    futures = client.map(increment, range(tasks))
    wait(futures)
    elapsed = time.perf_counter() - started
    expect_result(futures[-1].result(), tasks)
    return {"tasksPerSecond": tasks / elapsed}


def round_trips(client, request):
    def trip(argument):
        expect_result(client.submit(increment, argument).result(), argument + 1)

    warm_up(request["warmUpMs"], lambda number: trip(-1 - number))
    trips = request["sizes"]["trips"]
    started = time.perf_counter()
    for index in range(trips):
        wait(client.submit(increment, index))
    waited = time.perf_counter() - started
    started = time.perf_counter()
    for index in range(trips, 2 * trips):
        trip(index)
    fetched = time.perf_counter() - started
    return {"waitMs": waited / trips * 1000, "resultMs": fetched / trips * 1000}


def leaf(n):
    return n


def add(a, b):
    return a + b


def tree_as_graph(client, leaves):
    level = [f"leaf-{n}" for n in leaves]
    graph = {key: (leaf, n) for key, n in zip(level, leaves)}
    while len(level) > 1:
        above = []
        for left, right in zip(level[::2], level[1::2]):
            key = f"add-{len(graph)}-{leaves[0]}"
            graph[key] = (add, left, right)
            above.append(key)
        level = above
    return client.get(graph, level[0])


def tree_as_futures(client, leaves):
    level = [client.submit(leaf, n) for n in leaves]
    while len(level) > 1:
        level = [client.submit(add, left, right) for left, right in zip(level[::2], level[1::2])]
    return level[0].result()


def tree_case(reduce):
    def run(client, request):
        def batch(number):
            reduce(client, warm_up_range(number, 128))

        warm_up(request["warmUpMs"], batch)
        count = request["sizes"]["leaves"]
        started = time.perf_counter()
        total = reduce(client, list(range(count)))
        seconds = time.perf_counter() - started
        expect_result(total, count * (count - 1) // 2)
        return {"seconds": seconds, "tasksPerSecond": (2 * count - 1) / seconds}

    return run


def scatter_gather(client, request):
    def there_and_back(nbytes, seed):
        array = numpy.arange(seed, seed + nbytes // 8, dtype="float64")
        started = time.perf_counter()
        future = client.scatter(array)
        wait(future)
        scattered = time.perf_counter()
        back = client.gather(future)
        gathered = time.perf_counter()
        expect_result(back[-1], array[-1])
        return nbytes / (scattered - started), nbytes / (gathered - scattered)

    warm_up(request["warmUpMs"], lambda number: there_and_back(4 * MIB, -1 - number))
    scatter, gather = there_and_back(request["sizes"]["mib"] * MIB, 1)
    return {"scatterBytesPerSecond": scatter, "gatherBytesPerSecond": gather}


def make(length, seed):
    return numpy.arange(seed, seed + length, dtype="float64")


def touch(array):
    return len(array)


def total_of(array):
    return float(array.sum())


def nothing(x):
    return x


def transfer(client, request):
    source, target = list(client.scheduler_info()["workers"])

    def seconds(consumer, nbytes, seed):
        made = client.submit(make, nbytes // 8, seed, workers=[source])
        wait(made)
        started = time.perf_counter()
        consumed = client.submit(consumer, made, workers=[target])
        wait(consumed)
        elapsed = time.perf_counter() - started
        consumed.result()
        return elapsed

    def round_trip(number):
        started = time.perf_counter()
        wait(client.submit(nothing, number, workers=[target]))
        return time.perf_counter() - started

    warm_up(request["warmUpMs"], lambda number: seconds(touch, MIB, -1 - number))
    overhead = statistics.median(round_trip(number) for number in range(20))
    nbytes = request["sizes"]["mib"] * MIB

    def bytes_per_second(consumer, first):
        median = statistics.median(seconds(consumer, nbytes, first + number) for number in range(3))
        return nbytes / max(median - overhead, sys.float_info.epsilon)

    return {"bytesPerSecond": bytes_per_second(touch, 0), "readBytesPerSecond": bytes_per_second(total_of, 3)}


class Losses(SchedulerPlugin):
    """Counts what a program should not see: workers that went away, and tasks that ran once more."""

    def __init__(self):
        self.removed = 0
        self.finished = 0

    def transition(self, key, start, finish, *args, **kwargs):
        if start == "processing" and finish in ("memory", "erred"):
            self.finished += 1

    def remove_worker(self, scheduler, worker, **kwargs):
        self.removed += 1


def add_blocks(a, b):
    return a + b


def out_of_core(client, request):
    sizes = request["sizes"]
    count, length = sizes["blocks"], sizes["mib"] * MIB // 8
    scheduler = client.cluster.scheduler
    losses = Losses()
    scheduler.add_plugin(losses)
    with PeakMemory(client.cluster) as peak:
        started = time.perf_counter()
        blocks = client.map(make, [length] * count, range(count))
        sums = client.map(total_of, blocks)
        pairs = client.map(add_blocks, blocks[: count // 2], blocks[count // 2 :])
        pair_sums = client.map(total_of, pairs)
        result = client.submit(sum, sums + pair_sums).result()
        seconds = time.perf_counter() - started
    expect_result(result, 2 * (count * length * (length - 1) // 2 + length * count * (count - 1) // 2))
    time.sleep(2)  # written bytes come with heartbeats
    return {
        "seconds": seconds,
        "killed": losses.removed,
        "recomputed": losses.finished - (3 * count + 1),
        "spilledBytes": sum(
            value
            for key, value in scheduler.cumulative_worker_metrics.items()
            if isinstance(key, tuple) and "disk-write" in key and key[-1] == "bytes"
        ),
        "peakBytes": peak.bytes,
    }


class PeakMemory:
    """The highest resident size of any worker process: the kernel's own mark, read ten times a second."""

    def __init__(self, cluster):
        self.bytes = 0
        self._cluster = cluster
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._done.set()
        self._thread.join()

    def _watch(self):
        while not self._done.wait(0.1):
            for nanny in list(self._cluster.workers.values()):
                self.bytes = max(self.bytes, high_water_mark(nanny.pid))


def high_water_mark(pid):
    """Bytes; 0 for a process that is gone or being started."""
    try:
        with open(f"/proc/{pid}/status") as status:
            lines = [line.split() for line in status if line.startswith("VmHWM:")]
    except OSError:
        return 0
    return int(lines[0][1]) * 1024 if lines else 0


def sleep_ms(ms, index):
    time.sleep(ms / 1000)


def sleeps(client, request):
    def run(task_ms, indexes):
        wait(client.map(sleep_ms, [task_ms] * len(indexes), indexes))

    warm_up(request["warmUpMs"], lambda number: run(1, warm_up_range(number, 20)))
    tasks, task_ms = request["sizes"]["tasks"], request["sizes"]["taskMs"]
    started = time.perf_counter()
    run(task_ms, list(range(tasks)))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "overIdeal": seconds / (tasks * task_ms / 1000 / 2)}


def start(request):
    """Processes of their own: this one has imported everything by now."""
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dask_start.py")

    def run(*arguments):
        ended = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=True)
        return ended.stdout

    def fastest(code):
        times = []
        for _ in range(5):
            started = time.perf_counter()
            run("-c", code)
            times.append((time.perf_counter() - started) * 1000)
        return min(times)

    figures = json.loads(run(program, str(time.time()), request["scratch"]).splitlines()[-1])
    bare = fastest("pass")
    importing = fastest("import dask; from distributed import Client, LocalCluster")
    return {**figures, "importProcessMs": importing - bare}


CASES = {
    "a": map_case,
    "b": round_trips,
    "c-graph": tree_case(tree_as_graph),
    "c-futures": tree_case(tree_as_futures),
    "d": scatter_gather,
    "e-host": transfer,
    "e-tcp": transfer,
    "f": out_of_core,
    "f-two": out_of_core,
    "f-four": out_of_core,
    "f-eight": out_of_core,
    "g": sleeps,
}


def configure(request):
    settings = {"distributed.worker.profile.enabled": False}
    if request["system"] == "dask-unsaturated":
        settings["distributed.scheduler.worker-saturation"] = float("inf")
    dask.config.set(settings)


def with_cluster(request):
    options = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": None,
        "local_directory": request["scratch"],
    }
    if "limitMib" in request["sizes"]:
        options["memory_limit"] = request["sizes"]["limitMib"] * MIB
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        return CASES[request["case"]](client, request)


def main():
    request = json.loads(sys.argv[1])
    configure(request)
    figures = start(request) if request["case"] == "i" else with_cluster(request)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
