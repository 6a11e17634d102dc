"""Train a small network to tell two spirals apart: pure Python, every epoch printed as one JSON object (= metadata)."""

import argparse
import json
import math
import os
import random

import spirals

TRAINING_POINTS, VALIDATION_POINTS = 8000, 2000


class Network:
    """Two inputs, a tanh layer of `hidden` neurons (0: none), one sigmoid output. Trained by gradient descent."""

    def __init__(self, hidden: int, chance: random.Random) -> None:
        self.hidden = [[chance.gauss(0, 1.5) for _ in range(3)] for _ in range(hidden)]  # weights of x, y and 1
        self.output = [chance.gauss(0, 0.5) for _ in range((hidden or 2) + 1)]

    def activations(self, x: float, y: float) -> list[float]:
        return [math.tanh(a * x + b * y + c) for a, b, c in self.hidden] if self.hidden else [x, y]

    def probability(self, activations: list[float]) -> float:
        """Return the probability that the point belongs to class 1."""
        total = sum(weight * value for weight, value in zip(self.output, [*activations, 1.0], strict=True))
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, total))))

    def learn(self, x: float, y: float, label: int, rate: float) -> None:
        """Do one step of stochastic gradient descent on the cross-entropy of one point."""
        active = self.activations(x, y)
        slope = self.probability(active) - label
        for weights, weight, value in zip(
            self.hidden, self.output, active, strict=False
        ):  # none without a hidden layer
            inner = rate * slope * weight * (1 - value * value)
            weights[0] -= inner * x
            weights[1] -= inner * y
            weights[2] -= inner
        for index, value in enumerate([*active, 1.0]):
            self.output[index] -= rate * slope * value


def evaluate(network: Network, rows: list[tuple[float, float, int]]) -> tuple[float, float]:
    """Return the mean cross-entropy and the share of correctly classified points."""
    loss = right = 0.0
    for x, y, label in rows:
        probability = network.probability(network.activations(x, y))
        loss -= math.log(max(1e-12, probability if label else 1 - probability))
        right += (probability > 0.5) == bool(label)
    return loss / len(rows), right / len(rows)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=6)
    parser.add_argument("--learning_rate", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--noise", type=float, default=0.06)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def main() -> None:
    given = options()
    chance = random.Random(given.seed)
    training = spirals.make(TRAINING_POINTS, given.noise, given.seed)
    validation = spirals.make(VALIDATION_POINTS, given.noise, given.seed + 1)
    network = Network(given.hidden, chance)
    print(f"{len(training)} points to learn from, {len(validation)} to be judged by, {given.hidden} hidden neurons")
    for epoch in range(1, given.epochs + 1):
        chance.shuffle(training)
        for x, y, label in training:
            network.learn(x, y, label, given.learning_rate)
        loss, accuracy = evaluate(network, training)
        val_loss, val_accuracy = evaluate(network, validation)
        values = {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy}
        print(json.dumps({"epoch": epoch} | {name: round(value, 4) for name, value in values.items()}), flush=True)
    save(network, given, evaluate(network, validation)[1])


def save(network: Network, given: argparse.Namespace, val_accuracy: float) -> None:
    folder = os.environ.get("VH_OUTPUTS_DIR", ".")
    with open(os.path.join(folder, "model.json"), "w", encoding="utf-8") as file:
        json.dump({"hidden": network.hidden, "output": network.output, "parameters": vars(given)}, file, indent=1)
    verdict = "tells the spirals apart" if val_accuracy > 0.95 else "does not tell the spirals apart yet"
    print(f"the model {verdict}: {val_accuracy:.1%} of the points it never saw are right; saved as model.json")


if __name__ == "__main__":
    main()
