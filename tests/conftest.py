"""Settings that must stand before a framework is imported."""

import os

# The models of the tests are tiny: threads only wait for each other, the more so when several tests run at once.
os.environ["OMP_NUM_THREADS"] = "1"
