"""The data set: two spirals that wind around each other. Run alone, it writes them as CSV and draws them as text."""

import argparse
import csv
import json
import math
import os
import random


def make(points: int, noise: float, seed: int) -> list[tuple[float, float, int]]:
    """Return `points` rows (x, y, class 0 or 1) in random order; the same arguments give the same rows."""
    chance = random.Random(seed)
    rows = []
    for index in range(points):
        label = index % 2
        turn = math.sqrt(chance.random())  # even density along the spiral
        angle = 1.25 * 2 * math.pi * turn + math.pi * label
        x = turn * math.cos(angle) + chance.gauss(0, noise)
        y = turn * math.sin(angle) + chance.gauss(0, noise)
        rows.append((x, y, label))
    chance.shuffle(rows)
    return rows


def drawing(rows: list[tuple[float, float, int]], width: int = 61, height: int = 25) -> str:
    canvas = [[" "] * width for _ in range(height)]
    for x, y, label in rows:
        column = round((x + 1.2) / 2.4 * (width - 1))
        line = round((1.2 - y) / 2.4 * (height - 1))
        if 0 <= column < width and 0 <= line < height:
            canvas[line][column] = "o+"[label]
    return "\n".join("".join(line).rstrip() for line in canvas)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=400)
    parser.add_argument("--noise", type=float, default=0.06)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    rows = make(options.points, options.noise, options.seed)
    print(drawing(rows))
    path = os.path.join(os.environ.get("VH_OUTPUTS_DIR", "."), "spirals.csv")
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("x", "y", "class"), *rows])
    print(json.dumps({"points": len(rows), "share_of_class_1": sum(row[2] for row in rows) / max(1, len(rows))}))


if __name__ == "__main__":
    main()
