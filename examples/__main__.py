"""`python -m examples` on a fresh machine: makes .venv beside this folder, installs this checkout into it with
what the examples need, and runs examples/mnist.py with the flags given here. Needs Python alone."""

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
subprocess.run([python, "-m", "pip", "install", "-q", "-e", f"{root}[examples]"], check=True)
sys.exit(subprocess.call([python, root / "examples" / "mnist.py", *sys.argv[1:]]))
