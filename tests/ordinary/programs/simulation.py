"""Plain Python: objects that move and collide."""

import random
from dataclasses import dataclass


@dataclass
class Body:
    x: float
    y: float
    trail: list


def near(one, other):
    return (one.x - other.x) ** 2 + (one.y - other.y) ** 2 < 1e-6  # slowest


def step(bodies):
    hits = 0
    for body in bodies:
        body.x, body.y = (body.x * 1.01 + 0.1) % 1, (body.y * 1.03 + 0.2) % 1
        body.trail.extend([(body.x, body.y)] * 30)  # peak
    for at, one in enumerate(bodies):
        for other in bodies[at + 1 :]:
            if near(one, other):
                hits += 1
    return hits


draw = random.Random(6)
bodies = [Body(draw.random(), draw.random(), []) for _ in range(250)]
print(sum(step(bodies) for _ in range(50)))
