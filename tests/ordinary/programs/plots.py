"""matplotlib: a scatter plot is saved in several sizes."""

import io

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

points = [(n * 7919 % 10_007, n * 104_729 % 10_009) for n in range(20_000)]
figure, axes = plt.subplots()
axes.scatter(*zip(*points, strict=True), c=range(20_000))
for size in (60, 100, 200):
    figure.savefig(io.BytesIO(), dpi=size)  # slowest
