"""Writes the journal of a made-up search: journal.py TRIALS FILE [hostile]

The score has its best value at scale = 1.26 and k = 0.3; `rounds` does not change it. Every 17th
trial was stopped early, every 41st failed, and trial 50 repeats trial 1. `hostile`: every text is
one that must not be interpreted by whoever shows it.
"""

import json
import math
import random
import sys

HOSTILE = ["k<script>alert(1)</script>", "scale\" onmouseover='alert(2)'", "🦄 &amp; שלום \u202eabc",
           "</title></style><svg onload=alert(3)>", "--><!--", "]]>", "\u0007\u009f\u0000"[:2]]


def main() -> None:
    trials, path, hostile = int(sys.argv[1]), sys.argv[2], sys.argv[3:] == ["hostile"]
    k, scale, rounds, sign = HOSTILE[:4] if hostile else ["k", "scale", "rounds", "sign"]
    choices = ["sum", "count", HOSTILE[3] if hostile else "a choice with a long name"]
    task = {"task": HOSTILE[4] if hostile else "rte", "metric": "accuracy"}

    def score(value: float, error: float, examples: int) -> dict[str, object]:
        return task | {"value": value, "standard_error": error, "examples": examples}

    lines: list[dict[str, object]] = [{
        "type": "search", "version": 1, "mergecraft": "0.1.0", "fingerprint": "0123456789abcdef",
        "method": HOSTILE[3] if hostile else "ties", "recipe": HOSTILE[0] if hostile else None,
        "models": HOSTILE if hostile else ["A", "B"], "base": None, "parameters": [],
        "strategy": "random", "seed": 0, "direction": "maximize", "objective": "mean",
        "command": None, "validate": 0.3, "halving": 0, "tasks": [],
        "space": [{"name": k, "kind": "real", "low": 0.05, "high": 0.5, "log": False},
                  {"name": scale, "kind": "real", "low": 0.1, "high": 10, "log": True},
                  {"name": rounds, "kind": "integer", "low": 1, "high": 8, "log": False},
                  {"name": sign, "kind": "choice", "choices": choices}]}]
    for i in range(3):
        lines.append({"type": "parent", "model": HOSTILE[i] if hostile else f"parent {i}",
                      "scores": [score(0.55 + 0.02 * i, 0.035, 194)]})
    random.seed(3)
    best: dict[str, object] = {"score": -1.0}
    for trial in range(1, trials + 1):
        point = {k: random.uniform(0.05, 0.5), scale: 10 ** random.uniform(-1, 1),
                 rounds: random.randint(1, 8), sign: random.choice(choices)}
        value = (0.66 - 0.3 * (math.log10(float(point[scale])) - 0.1) ** 2
                 - 0.25 * (float(point[k]) - 0.3) ** 2 + random.gauss(0, 0.008))
        line: dict[str, object] = {"type": "trial", "trial": trial, "parameters": point,
                                   "score": value, "scores": [score(value, 0.0348, 194)],
                                   "seconds": 1.3}
        if trial % 17 == 0:
            line["stopped"] = True
        elif trial % 41 == 0:
            line |= {"score": None, "scores": [], "error": HOSTILE[1] if hostile else "NaN"}
        elif trial == 50:
            line["same_as"] = 1
        elif value > float(best["score"]):
            best = line
        lines.append(line)
    lines.append(best | {"type": "result", "held_out": [score(0.62, 0.054, 83)]})
    lines.append({"type": "a type of later versions"})
    with open(path, "w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")


main()
