"""The momentum lab: see it, predict it, measure it. `python -m tinygrad_m.lab report --quick --out DIR` runs all of it.

theory.py predicts, quadratic.py checks the predictions with our optimizers; landscapes.py races them; sweep.py is the
MNIST experiment; curvature.py and network.py take the theory to real networks; techniques.py combines momentum with
what one uses it with; page.py writes the interactive page and report.py the report. Figures need matplotlib:
pip install "tinygrad_m[lab]"."""
