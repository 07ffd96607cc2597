"""`python -m tests` on a fresh machine: makes .venv beside this folder, installs this checkout into it with
what the tests need, and runs pytest with the flags given here. Needs Python alone."""

import os
import subprocess
import sys
import venv
from pathlib import Path

root = Path(__file__).resolve().parent.parent
python = root / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
if not python.exists():
    print(f"making {root / '.venv'}", flush=True)
    venv.create(root / ".venv", with_pip=True)
subprocess.run([python, "-m", "pip", "install", "-q", "-e", f"{root}[test]"], check=True)
# one thread: on a shared machine BLAS threads that wait for each other cost far more than they bring
environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **os.environ}
sys.exit(subprocess.call([python, "-m", "pytest", *sys.argv[1:]], cwd=root, env=environment))
