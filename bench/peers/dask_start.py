"""From nothing to the first result, in a process that does only that: prints what the import, the start and all of it took.

The import is that of the names which the program needs; Dask's own default configuration, but no dashboard and no profiler.
"""

import json
import sys
import time

imported = time.perf_counter()
import dask  # noqa: E402
from distributed import Client, LocalCluster  # noqa: E402

started = time.perf_counter()


def increment(x):
    return x + 1


def main():
    process_started = float(sys.argv[1])
    dask.config.set({"distributed.worker.profile.enabled": False})
    options = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": None,
        "local_directory": sys.argv[2],
    }
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        result = client.submit(increment, 1).result()
        done = time.perf_counter()
        whole = time.time() - process_started
    if result != 2:
        raise RuntimeError(f"the result is {result}, it should be 2")
    figures = {"importMs": started - imported, "startMs": done - started, "wholeMs": whole}
    print(json.dumps({name: seconds * 1000 for name, seconds in figures.items()}))


if __name__ == "__main__":
    main()
