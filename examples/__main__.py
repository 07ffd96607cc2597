"""`python -m examples` on a fresh machine: makes .venv beside this folder, installs this checkout into it with
what the examples need, and runs examples/mnist.py with the flags given here. Needs Python alone. `python -m tests`
does the same for the tests, by the same function."""

import os
import subprocess
import sys
import venv
from pathlib import Path

root = Path(__file__).resolve().parent.parent


def launch(extra: str, modules: str, *command: str) -> None:
    """Run `python *command` and the flags given, in an environment that has the package with `extra`: the
    environment is made, or completed, unless `modules` can be imported in it."""
    if sys.version_info < (3, 11):  # noqa: UP036 (this runs before anything is installed)
        sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: try python3.11 -m ...")
    home = root / ".venv"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def works(*command: str) -> bool:  # not in `root`, where the package could be imported uninstalled
        return python.exists() and subprocess.run([python, *command], cwd=home, capture_output=True).returncode == 0

    try:
        if not works("-c", f"import {modules}"):
            print(f"installing into {home}", flush=True)
            if not works("-m", "pip", "--version"):
                venv.create(home, with_pip=True, clear=True)
            subprocess.run([python, "-m", "pip", "install", "-q", "-e", f"{root}[{extra}]"], check=True)
        # one thread: BLAS threads that wait for a neighbour's cost far more than they bring
        environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **os.environ}
        sys.exit(subprocess.call([python, *command, *sys.argv[1:]], env=environment))
    except subprocess.CalledProcessError:
        sys.exit(
            f"could not install into {home} (see above). Is there a network? If the folder is half-made, or of another "
            "Python, delete it and run this again."
        )
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    launch("examples", "matplotlib, tinygrad_m, tqdm", str(root / "examples" / "mnist.py"))
