"""The part `memory`: the most that a training step of the small CNN has in use at once, also with cuDNN, and beside
PyTorch; and that the memory in use after many steps is what it was after few."""

from __future__ import annotations

import gc
from typing import Any

from tinygrad_m import backend, kernels

from ..benchmarks import cases
from ..benchmarks.contenders import Absent
from . import process, speed

NETWORK = cases.NETWORKS["small"]
FEW, MANY, QUICK_MANY = 100, 10_000, 1000


def run(many: int, few: int = FEW, size: int = cases.SAMPLES, device: str = "cuda") -> dict[str, Any]:
    """Bytes of CuPy's pool: "peak" in use in a step, with a data set of one batch, "reserved" by the pool for it, and
    in use after `few` and `many` steps, in which epochs of `size` images begin and end."""
    from . import with_tinygrad_m

    pool = backend.cuda().xp.get_default_memory_pool()
    with_tinygrad_m.check(device)
    found = of_one_step(device)
    gc.collect()  # what trained holds a method of its own, a cycle

    trainer = with_tinygrad_m.Training(NETWORK, device, size)
    for done in range(1, many + 1):
        trainer.step()
        if done == few:
            trainer.wait()
            found["used after few"] = int(pool.used_bytes())
    trainer.wait()
    return {**found, "used after many": int(pool.used_bytes()), "few": few, "many": many}


def run_cudnn(device: str = "cuda") -> dict[str, Any]:
    """The same of one step with cuDNN's convolutions, and what it has "refused"; or {"absent": why}."""
    from . import with_tinygrad_m

    if not kernels.ENABLED:
        return {"absent": speed.NOR_CUDNN}
    try:
        with_tinygrad_m.check(device, convolution="cudnn")
    except Absent as error:
        return {"absent": str(error)}
    return {**of_one_step(device), "refused": with_tinygrad_m.refused()}


def of_one_step(device: str) -> dict[str, int]:
    """Bytes of CuPy's pool: "peak", "reserved" and "missed"."""
    from .with_tinygrad_m import Training

    xp = backend.cuda().xp
    pool = xp.get_default_memory_pool()
    trainer = Training(NETWORK, device, NETWORK.batch)
    for _ in range(3):  # the optimizer's state is made, kernels are compiled
        trainer.step()
    trainer.wait()
    pool.free_all_blocks()  # what was needed once
    peak, missed = peak_in_use(xp, trainer)
    return {"peak": peak, "reserved": int(pool.total_bytes()), "missed": missed}


def peak_in_use(xp: Any, trainer: Any) -> tuple[int, int]:
    """The most bytes of CuPy's pool that a step has in use at once; and by how many the pool's own count of what is in
    use after it differs from the one made here, which should be 0."""
    pool = xp.get_default_memory_pool()

    class Watch(xp.cuda.MemoryHook):  # type: ignore[misc]
        name = "Watch"

        def __init__(self) -> None:
            self.now = self.most = int(pool.used_bytes())

        def malloc_postprocess(self, **event: int) -> None:
            self.now += event["mem_size"]
            self.most = max(self.most, self.now)

        def free_postprocess(self, **event: int) -> None:
            self.now -= event["mem_size"]

    watch = Watch()
    with watch:
        trainer.step()
    trainer.wait()
    return watch.most, int(pool.used_bytes()) - watch.now


def run_torch(device: str = "cuda") -> dict[str, Any]:
    """The same of PyTorch's allocator."""
    try:
        import torch

        from . import with_torch

        with_torch.check(device)
    except ModuleNotFoundError as error:
        return {"absent": f"{error.name} is not installed"}
    except Absent as error:
        return {"absent": str(error)}
    trainer = with_torch.Training(NETWORK, device, NETWORK.batch)
    for _ in range(3):
        trainer.step()
    trainer.wait()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    trainer.step()
    trainer.wait()
    return {"peak": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.memory_reserved()}


def part(quick: bool = False) -> dict[str, Any]:
    """All, each in a process of its own."""
    found: dict[str, Any] = {"failures": [], **process.run("memory", many=QUICK_MANY if quick else MANY)}
    try:
        found["cudnn"] = process.run("memory with cuDNN")
    except process.JobError as error:
        found["cudnn"] = {"absent": str(error)}
        found["failures"].append(f"{speed.CUDNN}: {error}")
    try:
        found["torch"] = process.run("memory of torch")
    except process.JobError as error:
        found["torch"] = {"absent": str(error)}
    return found
