"""The differentiable operations, by topic: each one's forward and its derivative rules together.
elementwise.py reads like a table of derivatives and is the place to start; then reduce.py, shape.py,
indexing.py, linalg.py, fused.py (fast versions of what the others can also say) conv.py and pool.py."""

from .conv import *  # noqa: F403
from .elementwise import *  # noqa: F403
from .fused import *  # noqa: F403
from .indexing import *  # noqa: F403
from .indexing import assign as assign  # behind x[...] = v
from .indexing import getitem as getitem  # behind x[...]
from .indexing import raw_index as raw_index
from .indexing import write as write
from .linalg import *  # noqa: F403
from .pool import *  # noqa: F403
from .reduce import *  # noqa: F403
from .shape import *  # noqa: F403
