"""Several programs at a time, shared out among the GPUs."""
import concurrent.futures
import itertools
import os
import threading


class Workers:
    """`count` threads; the programs that a thread starts with environment() see one GPU of `gpus`."""

    def __init__(self, count, gpus):
        self.local = threading.local()
        numbers = itertools.count()

        def begin():
            self.local.gpu = next(numbers) % gpus
        self.pool = concurrent.futures.ThreadPoolExecutor(count, initializer=begin)

    def environment(self):
        gpu = getattr(self.local, "gpu", None)
        return os.environ if gpu is None else os.environ | {"CUDA_VISIBLE_DEVICES": str(gpu)}

    def map(self, function, jobs):
        """The results, in the order of the jobs."""
        return list(self.pool.map(function, jobs))


def add_arguments(parser):
    parser.add_argument("--workers", type=int, default=1, help="programs at a time")
    parser.add_argument("--gpus", type=int, default=1, help="that the workers are shared out among")
