"""Play the moves of an answer: each must be legal, as one that has no effect would let one answer fit all puzzles."""

import re
from collections.abc import Iterable
from operator import add, mul, sub
from typing import Any

from mot_trl.tasks.reasoning_gym.readers import json_value

Metadata = dict[str, Any]

_STEPS = {"U": (-1, 0), "D": (1, 0), "L": (0, -1), "R": (0, 1)}
_CHANGES = {"add": add, "subtract": sub, "multiply": mul}
_SIDE = 6  # of a board of Rush Hour
_EXIT = 16  # where the red car starts, once it is out
_AGENT = re.compile(r"Agent\[(\d+\.5), ?(\d+\.5)\]", re.ASCII)
_MOVE = re.compile(r"(?P<action>fill|empty) (?P<jug>[A-J])|pour (?P<source>[A-J])->(?P<other>(?!(?P=source))[A-J])")
_ACTION = re.compile(r"move\((box_\w+), ?(?:(target_\w+)|square\[(\d+\.5), ?(\d+\.5)\])\)", re.ASCII)


def rush_hour(answer: str, metadata: Metadata) -> bool:
    """Whether every car finds its way free, and the red one is out at the end."""
    cells = metadata["board_config"]
    places = [[i for i, label in enumerate(cells) if label == car] for car in sorted({*cells} - {"o", "x"})]
    # The question names the cars anew, in the order of their labels.
    cars = {chr(ord("A") + number): cars for number, cars in enumerate(places)}
    taken = {i for i, label in enumerate(cells) if label != "o"}
    for car, sign, count in re.findall(r"([A-Z])([+-])(\d)", answer):
        for _ in range(int(count)):
            before = cars[car]
            step = (before[1] - before[0]) * (1 if sign == "+" else -1)
            after = [place + step for place in before]
            taken -= {*before}
            if taken & {*after} or not _on_board(after):
                return False
            taken |= {*after}
            cars[car] = after
    return cars["A"][0] == _EXIT


def _on_board(places: list[int]) -> bool:
    upright = places[1] - places[0] == _SIDE
    return places[0] >= 0 and places[-1] < _SIDE**2 and (upright or places[0] // _SIDE == places[-1] // _SIDE)


def sokoban(answer: str, metadata: Metadata) -> bool:
    """Whether the player can take every step, and only the last one brings all boxes to goals."""
    rows = metadata["gamestr"].replace(" ", "").split()
    cells = {(r, c): char for r, row in enumerate(rows) for c, char in enumerate(row)}
    floor = {cell for cell, char in cells.items() if char != "+"}
    boxes = {cell for cell, char in cells.items() if char in "@$"}
    goals = {cell for cell, char in cells.items() if char in "X$%"}
    (player,) = (cell for cell, char in cells.items() if char in "*%")
    for down, right in (_STEPS[key] for key in answer if not key.isspace()):
        if boxes <= goals:
            return False
        player = player[0] + down, player[1] + right
        if player in boxes:
            behind = player[0] + down, player[1] + right
            if behind in boxes or behind not in floor:
                return False
            boxes = boxes - {player} | {behind}
        if player not in floor:
            return False
    return boxes <= goals


def tower_of_hanoi(answer: str, metadata: Metadata) -> float:
    """1 for the fewest moves that bring all disks to their peg, less in proportion for more; 0 for a wrong move."""
    disks = list(range(metadata["num_disks"], 0, -1))
    pegs: dict[int, list[int]] = {peg: [] for peg in range(1, metadata["num_pegs"] + 1)}
    pegs[metadata["start_peg"]] = disks.copy()
    moves = re.findall(r"disk (\d+) from Peg (\d+) to Peg (\d+)", answer)
    for disk, start, end in (map(int, move) for move in moves):
        if pegs[start][-1:] != [disk] or (pegs[end] and pegs[end][-1] < disk):
            return 0.0
        pegs[end].append(pegs[start].pop())
    return metadata["solution_length"] / len(moves) if pegs[metadata["target_peg"]] == disks else 0.0


def quantum_lock(answer: str, metadata: Metadata) -> float:
    """1 for the fewest presses that end with the target, half for more; each must be of a button that is active."""
    buttons = {button["name"]: button for button in metadata["buttons"]}
    light, value, target = metadata["initial_state"], metadata["initial_value"], metadata["target_value"]
    presses = re.findall(r"[A-C]", answer.upper())
    for name in presses:
        button = buttons[name]
        if value == target or button["active_state"] not in (light, "any"):
            return 0.0
        value = _CHANGES[button["type"]](value, button["value"])
        light = "green" if light == "red" else "red"
    if value != target:
        return 0.0
    return 1.0 if len(presses) <= len(metadata["solution_path"]) else 0.5


def jugs(answer: str, metadata: Metadata) -> bool:
    """Whether every move moves water, and only the last one makes a jug hold the target."""
    sizes = dict(zip("ABCDEFGHIJ", metadata["puzzle"]["jug_capacities"], strict=False))
    target = metadata["puzzle"]["target"]
    held = dict.fromkeys(sizes, 0)
    for move in json_value(answer):
        if target in held.values():
            return False
        match = _MOVE.fullmatch(move)
        if match is None:
            return False
        action, jug, other = match["action"] or "pour", match["jug"] or match["source"], match["other"]
        amount = sizes[jug] - held[jug] if action == "fill" else held[jug]
        if other:
            amount = min(amount, sizes[other] - held[other])
            held[other] += amount
        if amount <= 0:
            return False
        held[jug] += amount if action == "fill" else -amount
    return target in held.values()


def boxnet(answer: str, metadata: Metadata) -> float:
    """The share of the boxes that a plan brings to their targets; 0 if an agent cannot act as it should."""
    state = {square: list(items) for square, items in metadata["initial_state"].items()}
    count = _boxes(state.values())
    for step in json_value(answer):
        for agent, action in step.items():
            if not _acted(state, _AGENT.fullmatch(agent), _ACTION.fullmatch(action)):
                return 0.0
    return (count - _boxes(state.values())) / count


def _acted(state: dict[str, list[str]], agent: re.Match | None, action: re.Match | None) -> bool:
    if agent is None or action is None:
        return False
    box, target, *square = action.groups()
    here = state.get("_".join(agent.groups()), [])
    if box not in here or (target and (target not in here or target[7:] != box[4:])):
        return False
    here.remove(box)
    if target:
        here.remove(target)
        return True
    distance = sum(abs(float(a) - float(b)) for a, b in zip(agent.groups(), square, strict=True))
    there = state.get("_".join(square))
    if there is None or distance != 1:
        return False
    there.append(box)
    return True


def _boxes(squares: Iterable[list[str]]) -> int:
    return sum(item.startswith("box_") for items in squares for item in items)
