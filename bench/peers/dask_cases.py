"""The program behind every sample of Dask: one case, once, in a process of its own, with a cluster of its own.

Takes the request as JSON and prints the figures as the last line of its output, as the programs of the other systems do.
Two worker processes with one thread each, no dashboard, the statistical profiler off.
"""

import json
import sys
import time

import dask
from distributed import Client, LocalCluster, wait

BATCH = 200


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


CASES = {
    "a": map_case,
}


def configure(request):
    settings = {"distributed.worker.profile.enabled": False}
    if request["system"] == "dask-unsaturated":
        settings["distributed.scheduler.worker-saturation"] = float("inf")
    dask.config.set(settings)


def main():
    request = json.loads(sys.argv[1])
    configure(request)
    options = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": None,
        "local_directory": request["scratch"],
    }
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        figures = CASES[request["case"]](client, request)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
