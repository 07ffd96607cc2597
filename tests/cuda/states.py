"""An optimizer's state, put back in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_m import backend, optim


def put_back(optimizer: optim.Optimizer, saved: dict[int, dict[str, Any]]) -> None:
    """Give the optimizer the "state" of a state_dict(), as load_state_dict() does, but in the memory that there is: a
    captured step goes on with it, where it would refuse another. What `saved` lacks becomes 0, the value that all state
    of SGD, RMSprop and Adam begins with: with {} the next step is like the first."""
    for k, state in optimizer.state.items():
        source = saved.get(k, {})
        for name, value in state.items():
            if not hasattr(value, "shape"):  # the count of steps
                state[name] = source.get(name, 0)
                continue
            with backend.on(value):
                fresh = source.get(name, np.zeros(value.shape)).astype(value.dtype)
                value[...] = backend.of(value).xp.asarray(fresh)
    lost = [(k, name) for k, source in saved.items() for name in source.keys() - optimizer.state.get(k, {}).keys()]
    if lost:
        names = ", ".join(f"{name!r} of parameter {k}" for k, name in sorted(lost))
        raise ValueError(f"{type(optimizer).__name__} has no {names} to put back into: take a step before")
