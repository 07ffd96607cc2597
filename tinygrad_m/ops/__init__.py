"""The differentiable operations, by topic: each one's forward and its derivative rules together.
elementwise.py reads like a table of derivatives and is the place to start; then reduce.py, shape.py,
linalg.py, fused.py (fast versions of what the others can also say) and conv.py."""

from . import conv, elementwise, fused, linalg, reduce, shape
from .conv import *  # noqa: F403
from .elementwise import *  # noqa: F403
from .fused import *  # noqa: F403
from .linalg import *  # noqa: F403
from .reduce import *  # noqa: F403
from .shape import *  # noqa: F403
from .shape import assign as assign  # behind x[...] = v and x[...]
from .shape import getitem as getitem
from .shape import raw_index as raw_index

__all__ = elementwise.__all__ + reduce.__all__ + shape.__all__ + linalg.__all__ + fused.__all__ + conv.__all__
