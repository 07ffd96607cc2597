"""`python -m tests` on a fresh machine: makes .venv beside this folder, installs this checkout into it with
what the tests need, and runs pytest with the flags given here. Needs Python alone."""

from examples.__main__ import launch

if __name__ == "__main__":
    launch("test", "hypothesis, pytest, tinygrad_m", "-m", "pytest")
