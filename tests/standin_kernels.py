"""CUDA kernels without a GPU: their source, compiled by g++ as C++ with what CUDA adds put in by a few macros, runs on
the stand-in's arrays (standin.py). Threads of a block take turns at each __syncthreads(), so that this and __shared__
mean what they mean on the device, and a missing one shows; blocks run one after the other. It is as strict as may be:
an argument of another size than the parameter's, an array of another device and a null pointer for a number are
refused."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from standin import _check_device, _perform, ndarray

from tinygrad_m import kernels

COMPILER = shutil.which("g++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="g++ runs the kernels without a GPU")
ARCHITECTURES = ["75", "80", "90", "100", "120"]  # Turing, Ampere, Hopper, and two Blackwells
FOLDER = Path(tempfile.gettempdir()) / "tinygrad_m-stand-in-kernels"  # compiled ones, by a hash of their source
BEFORE = r"""
#undef _FORTIFY_SOURCE
#include <cmath>
#include <functional>
#include <mutex>
#include <setjmp.h>
#include <ucontext.h>
#include <vector>
using std::exp; using std::log; using std::pow; using std::sqrt; using std::tanh;
struct Dim { unsigned int x = 1, y = 1, z = 1; };
static Dim threadIdx, blockIdx, blockDim, gridDim;
#define __global__
#define __device__
#define __shared__ static
typedef _Float16 Half;

// A thread of a block: it runs until it meets __syncthreads() or ends, then the next one does. A context starts it, as
// it needs a stack of its own; jumps go on with it, which are faster.
struct Thread { ucontext_t start; jmp_buf place; bool begun, done; };
static const size_t STACK = 1 << 15;
static std::vector<Thread> team;
static std::vector<char> stacks;
static std::function<void()> body;
static unsigned int running;
static jmp_buf turn;
static std::mutex one_launch;

static void begin() { body(); team[running].done = true; _longjmp(turn, 1); }
static void __syncthreads() { if (!_setjmp(team[running].place)) _longjmp(turn, 1); }
static void go_on(unsigned int thread) {
    running = threadIdx.x = thread;
    if (_setjmp(turn)) return;
    if (team[thread].begun) _longjmp(team[thread].place, 1);
    team[thread].begun = true;
    setcontext(&team[thread].start);
}

static void run_block(bool together) {
    const unsigned int threads = blockDim.x;
    threadIdx = {0, 0, 0};
    if (!together) { for (; threadIdx.x < threads; threadIdx.x++) body(); return; }
    team.resize(threads);
    if (stacks.size() < threads * STACK) stacks.resize(threads * STACK);
    for (unsigned int k = 0; k < threads; k++) {
        getcontext(&team[k].start);
        team[k].start.uc_stack.ss_sp = stacks.data() + k * STACK;
        team[k].start.uc_stack.ss_size = STACK;
        team[k].start.uc_link = nullptr;
        makecontext(&team[k].start, begin, 0);
        team[k].begun = team[k].done = false;
    }
    unsigned int alive = threads;
    for (int round = 0; alive; round++)  // from the first to the last, and back: who lacks a __syncthreads() comes too
        for (unsigned int k = 0; k < threads; k++) {  // early in one of the two
            const unsigned int thread = round % 2 ? threads - 1 - k : k;
            if (team[thread].done) continue;
            go_on(thread);
            alive -= team[thread].done;
        }
}
"""
AFTER = r"""
extern "C" void sizes_NAME(long long *out) {
    long long all[] = {SIZES};
    for (int k = 0; k < COUNT; k++) out[k] = all[k];
}
extern "C" void launch_NAME(void **args, unsigned int *grid, unsigned int threads) {
    std::lock_guard<std::mutex> alone(one_launch);
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {threads, 1, 1};
    body = [=] { NAME(ARGS); };
    for (unsigned int z = 0; z < grid[2]; z++) for (unsigned int y = 0; y < grid[1]; y++)
        for (unsigned int x = 0; x < grid[0]; x++) {
            blockIdx = {x, y, z};
            run_block(TOGETHER);
        }
}
"""


def parameters(source: str) -> dict[str, list[str]]:
    """The types of each kernel's parameters."""
    found = re.findall(r'extern "C" __global__ void (\w+)\(([^)]*)\)', source.replace("__restrict__", ""))
    return {name: [re.sub(r"\w+$", "", p.strip()).strip() for p in text.split(",")] for name, text in found}


def translated(source: str) -> str:
    """The C++ that runs the kernels, each behind launch_NAME."""
    parts = [BEFORE, source]
    for name, types in parameters(source).items():
        args = ", ".join(f"*({type_} *)args[{k}]" for k, type_ in enumerate(types))
        sizes = ", ".join(f"sizeof({type_})" for type_ in types)
        body = source.partition(f"void {name}(")[2].partition('extern "C"')[0]
        together = str(bool(re.search(r"__syncthreads|\b(sum|largest|together|adam_step)\(", body))).lower()
        text = AFTER.replace("ARGS", args).replace("SIZES", sizes).replace("COUNT", str(len(types)))
        parts.append(text.replace("TOGETHER", together).replace("NAME", name))
    return "\n".join(parts)


@functools.cache
def library(source: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """The kernels, compiled."""
    assert COMPILER, "needs g++"
    text = translated(source)
    path = FOLDER / (hashlib.sha256(repr((text, options)).encode()).hexdigest()[:24] + ".so")
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            made = Path(folder, "kernels.so")
            flags = "-x c++ - -std=c++20 -O1 -ffp-contract=off -shared -Wl,-Bsymbolic -fPIC"
            command = [COMPILER, *flags.split()]
            done = subprocess.run([*command, *options, "-o", str(made)], input=text, text=True, capture_output=True)
            if done.returncode:
                raise RuntimeError(f"CompileException: {done.stderr}")
            made.replace(path)  # whole, or not at all: others may be compiling, too
    return ctypes.CDLL(str(path))


class RawModule:
    """cupy.RawModule, with the arguments that CuPy knows and the library uses."""

    launches = 0  # of all kernels, for tests to count

    def __init__(self, code: str | None = None, *, options: tuple[str, ...] = ()) -> None:
        if not isinstance(code, str) or not isinstance(options, tuple):
            raise TypeError("code must be str, options a tuple of str")
        self.code, self.options = code, options

    def get_function(self, name: str) -> Callable[..., None]:
        types = parameters(self.code)[name]
        lib = library(self.code, self.options)
        sizes = (ctypes.c_longlong * len(types))()
        getattr(lib, f"sizes_{name}")(sizes)

        def kernel(grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
            if not all(isinstance(part, tuple) for part in (grid, block, args)) or len(args) != len(types):
                raise TypeError(f"{name} takes tuples (grid), (block), ({', '.join(types)}), got {len(args)} arguments")
            if (
                not all(n > 0 for n in (*grid, *block))
                or block[0] > 1024
                or len(block) > 1
                or max(grid[1:], default=0) > 65535
            ):
                raise ValueError(f"invalid configuration argument: {grid}, {block}")
            held = [_bytes(arg, type_, size) for arg, type_, size in zip(args, types, sizes, strict=True)]
            pointers = (ctypes.c_void_p * len(held))(*[ctypes.cast(h, ctypes.c_void_p).value for h in held])
            RawModule.launches += 1
            shape = (ctypes.c_uint * 3)(*(*grid, 1, 1)[:3])
            run, threads = getattr(lib, f"launch_{name}"), ctypes.c_uint(block[0])
            _perform(lambda: (run(pointers, shape, threads), held, args)[0])  # which keeps what they point to

        return kernel


def _bytes(arg: Any, type_: str, size: int) -> Any:
    """An argument as the bytes that the kernel gets."""
    pointer = type_.endswith("*")
    if isinstance(arg, ndarray):
        if not pointer:
            raise TypeError(f"an array for a parameter of type {type_}")
        _check_device([arg])
        wanted = {
            "long long": "q",
            "unsigned int": "I",
            "unsigned char": "B",
            "T": "fd",
            "S": "efd",
            "float": "f",
            "double": "d",
        }[type_.rstrip(" *").removeprefix("const ")]
        if arg.dtype.char.replace("l", "q") not in wanted:
            raise TypeError(f"an array of {arg.dtype} for a parameter of type {type_}")
        text = np.uint64(arg._host.ctypes.data).tobytes()
    elif isinstance(arg, np.ndarray):  # a struct by value
        if arg.size != 1:
            raise TypeError("Only numpy.ndarrays of size one can be passed by value to kernels, not " + str(arg.shape))
        text = arg.tobytes()
    elif isinstance(arg, np.generic):
        if pointer and arg != 0:
            raise TypeError(f"the number {arg!r} for a pointer")
        text = arg.tobytes()
    else:
        raise TypeError(f"{arg!r} for a parameter of type {type_}: say its type, np.int64(n) or np.float64(x)")
    if len(text) != size:
        raise TypeError(f"{len(text)} bytes for a parameter of type {type_}, which has {size}")
    return ctypes.create_string_buffer(text, size)


def launched(f: Callable[[], Any]) -> int:
    """How many kernels of ours f() starts, on the stand-in."""
    before = RawModule.launches
    f()
    return RawModule.launches - before


def check_compiles(file: Path, architecture: str, types: tuple[str, str], folder: Path) -> None:
    """Compile a file of kernels with CuPy's own compiler, NVRTC, or with nvcc: neither needs a GPU."""
    options, text = ["-std=c++17", *kernels.options(types), f"-arch=sm_{architecture}"], kernels.source(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from cupy_backends.cuda.libs import nvrtc
        nvrtc.getVersion()
    except Exception:  # no CuPy, or no NVRTC beside it
        nvrtc = None
    if nvrtc is not None:
        program = nvrtc.createProgram(text, file.name, (), ())
        try:
            nvrtc.compileProgram(program, tuple(options))
        except Exception:
            pytest.fail(nvrtc.getProgramLog(program))
        return
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("needs CuPy with NVRTC, or nvcc")
    (folder / file.name).write_text(text, encoding="utf-8")
    command = [nvcc, *options, "-cubin", "-o", str(folder / "kernels.cubin"), str(folder / file.name)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
