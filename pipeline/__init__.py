"""The experiment pipeline: text to tokens to trained, evaluated and logged models."""

import os

# Threads that wait for one another by spinning make a training several times slower as soon as
# anything else runs on the machine. OpenMP reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
