"""Writes sobol.txt: 64 points of Sobol's sequence in 21 dimensions, by scipy, times 1024."""

from pathlib import Path

from scipy.stats import qmc

points = qmc.Sobol(d=21, scramble=False).random(64)
lines = [" ".join(str(int(number * 1024)) for number in point) for point in points]
(Path(__file__).parent / "sobol.txt").write_text("\n".join(lines) + "\n")
