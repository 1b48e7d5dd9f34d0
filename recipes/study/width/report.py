"""The second part of the study's page, from its results alone."""

from math import isfinite, isnan

from mot_trl.evaluation.report import markdown_table
from mot_trl.tasks import width
from recipes.study.conclusion import percent
from recipes.study.config import TUNING_SEED
from recipes.study.statistics import LEVEL
from recipes.study.tables import number, whole
from recipes.study.width.arms import ARMS, CANDIDATES, STEPS
from recipes.study.width.results import ENTRIES, MIXTURES, Entry, Stage, WidthResults

INTRODUCTION = """\
The models above had never been fed a mixture. Here each is **taught** a way to think first, with `MoTSFTTrainer`
([fine-tuning](fine_tuning.md)), on three families of puzzles in which {steps} steps of thinking must hold
several possibilities (`mot_trl.tasks.width`): `reach` (trees), `least` (the smallest signed sum, from CoT2) and
`graph` (after ProsQA). All ways start from the same model of 0.4 million parameters, which walks at random in
ordinary tokens, and see as many demonstrations of the same kind of puzzle:

- *superposed*: each step mixes the whole frontier. This is how nano-soft is made.
- *path*: each step is the token that leads to the answer, which takes knowing it.
- *breadth first*: one token for each member of each frontier: cut off after {steps} steps, or all of them (reference).
- *pauses*: the same meaningless token in each step.

`python -m recipes.study.width.train` does the runs, and `python -m recipes.study docs/study/runs.jsonl --width
docs/study/width.jsonl` writes this page."""

ARMS_TEXT = """\
*dirichlet*, *multiplex* and *top_k* think in mixtures on the model that was taught the superposed way. Controls think
in ordinary tokens at the same number of steps: sampled, truncated to the mixtures' support ({support}), or greedy; on
the same model and on the twins; and the majority of {samples} sampled completions, which cost that many times as
much.
Learning rates were chosen for every way and every arm alike, on seed {seed}: {rates}."""

TABLE = """\
Held-out accuracy at temperature 1, mean over seeds and items, with 95 % bootstrap intervals over items; chance is 1/4,
1/3 and 1/2. *steps*: mean thinking steps. *candidates*: effective number mixed in a step (1 / sum of squared
weights)."""

COMPARED = """\
Differences of each mixture from the best control of each family. Intervals and p-values combine seeds (one standard
deviation, pooled over all arms) and items, as in the first part; p-values are adjusted (Holm) for all {count}
comparisons of a mixture with a control in a family."""

SOON = """\
GRPO on the same questions for every arm, {rollouts:,} trajectories in all. The level is the final accuracy of the best
control, {level:.3f} by `{control}`; an arm that starts there needs none, and *never* means not in this run. Medians
over seeds; *seconds* are processor time."""


def section(results: WidthResults) -> str:
    """The second part as Markdown."""
    parts = [
        "# Second part: models that were taught to think in mixtures",
        "## What was found",
        "\n".join(f"{place}. {line}" for place, line in enumerate(_findings(results), 1)),
        "## How it was found",
        INTRODUCTION.format(steps=STEPS),
        _what_was_run(results),
        ARMS_TEXT.format(
            support=", ".join(f"{name}={value}" for name, value in CANDIDATES.items()),
            samples=results.settings["samples"],
            seed=TUNING_SEED,
            rates=_rates(results),
        ),
        "## Before GRPO",
        TABLE,
        _accuracies(results, "taught"),
        COMPARED.format(count=len(results.comparisons("taught"))),
        _differences(results, "taught"),
        "## After GRPO",
        _accuracies(results, "grpo"),
        _differences(results, "grpo"),
        _how_soon(results),
        "## What these seeds can detect",
        _power(results),
    ]
    if results.failed:
        parts += ["## Runs of this part that failed", _failures(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _findings(results: WidthResults) -> list[str]:
    found = [_verdict(results, "taught", "Before GRPO")]
    if results.seeds("grpo"):
        found.append(_verdict(results, "grpo", "After GRPO"))
    for family in width.TASKS:
        best = max(MIXTURES, key=lambda entry: results.accuracy(entry, "taught", family).mean)
        control = results.best_control("taught", family)
        if control is not None:
            own, other = (results.accuracy(entry, "taught", family).mean for entry in (best, control))
            found.append(
                f"`{family}`, before GRPO: `{best.name}` answers {percent(own)}, the best control, `{control.name}`, "
                f"{percent(other)}."
            )
    found.append(
        "This is one architecture of less than a million parameters on synthetic puzzles whose frontiers are known. "
        "It says that mixtures can carry what tokens cannot at the same number of steps, not that they do so in a "
        "model that was never taught to."
    )
    return found


def _verdict(results: WidthResults, stage: Stage, when: str) -> str:
    wins = results.wins(stage)
    claims = [f"`{name}` in {' and '.join(f'`{family}`' for family in families)}" for name, families in wins.items()]
    seeds = len(results.seeds(stage))
    number_of = f"{seeds} seed{'s' if seeds != 1 else ''}"
    if not claims:
        return f"{when}, no mixture is above every control at an adjusted p < {LEVEL:g} in any family ({number_of})."
    return (
        f"{when}, thinking in mixtures is above every control of the same number of steps, and above their majority "
        f"votes, at an adjusted p < {LEVEL:g}: {'; '.join(claims)} ({number_of})."
    )


def _what_was_run(results: WidthResults) -> str:
    given = results.settings
    return (
        f"Taught on {given['taught_steps']} batches of {given['taught_rows']} demonstrations (Muon and AdamW, linear "
        f"decay), {len(results.seeds('taught'))} seeds; then GRPO for {given['steps']} steps of {given['prompts']} "
        f"prompts x {given['generations']} completions (AdamW at a constant rate), "
        f"{len(results.seeds('grpo'))} seeds. Evaluated on {given['items']} held-out items x {given['samples']} "
        "completions, families in turn."
    )


def _rates(results: WidthResults) -> str:
    rates = {run["variant"]: run["rate"] for run in results.runs if run["seed"] != TUNING_SEED}
    return ", ".join(f"{rate:g} for *{name.replace('_', ' ')}*" for name, rate in rates.items())


def _accuracies(results: WidthResults, stage: Stage) -> str:
    rows = []
    for entry in ENTRIES:
        runs = list(results.evaluations(entry.arm, stage).values())
        if not runs:
            continue
        cells = [results.accuracy(entry, stage, family) for family in width.TASKS]
        texts = [f"{each.mean:.3f} [{each.low:.3f}, {each.high:.3f}]" for each in cells]
        steps, candidates = (sum(run[name] for run in runs) / len(runs) for name in ("thinking", "candidates"))
        steps = steps * results.settings["samples"] if entry.votes else steps
        rows.append([entry.name, _kind(entry), *texts, f"{steps:.1f}", f"{candidates:.2f}", str(len(runs))])
    if not rows:
        return "No runs yet."
    return markdown_table(["arm", "kind", *width.TASKS, "steps", "candidates", "seeds"], rows)


def _kind(entry: Entry) -> str:
    return next(arm.kind for arm in ARMS if arm.name == entry.arm)


def _differences(results: WidthResults, stage: Stage) -> str:
    rows = []
    compared = {(each.mixture, each.control, each.family): each for each in results.comparisons(stage)}
    for mixture in MIXTURES:
        for family in width.TASKS:
            control = results.best_control(stage, family)
            if control is None or not results.evaluations(mixture.arm, stage):
                continue
            each = compared[mixture.name, control.name, family]
            low, high = each.difference.mean - each.difference.half, each.difference.mean + each.difference.half
            adjusted = f"{each.adjusted:.2g}" if isfinite(each.adjusted) else "-"
            interval = f"{each.difference.mean:+.3f} [{low:+.3f}, {high:+.3f}]"
            rows.append([mixture.name, family, control.name, interval, adjusted])
    if not rows:
        return ""
    return markdown_table(["mixture", "family", "best control", "difference", "adjusted p"], rows)


def _how_soon(results: WidthResults) -> str:
    control = results.best_control("grpo")
    if control is None:
        return ""
    level = results.accuracy(control, "grpo").mean
    given = results.settings
    text = SOON.format(
        rollouts=given["steps"] * given["prompts"] * given["generations"], level=level, control=control.name
    )
    rows = []
    for arm in ARMS:
        if not results.trained(arm.name):
            continue
        entry = Entry(arm.name, arm.name)
        start, end = (results.accuracy(entry, stage).mean for stage in ("taught", "grpo"))
        trajectories, seconds = results.reached(arm.name, level)
        rows.append([arm.name, number(start), number(end), whole(trajectories), whole(seconds)])
    return f"{text}\n\n{markdown_table(['arm', 'start', 'end', 'trajectories', 'seconds'], rows)}"


def _power(results: WidthResults) -> str:
    lines = []
    for family in width.TASKS:
        least = results.detectable("taught", family)
        if not isnan(least):
            lines.append(f"{least:.3f} in `{family}`")
    if not lines:
        return "One seed cannot say how certain any of this is."
    return (
        f"{len(results.seeds('taught'))} seeds detect these true differences between two taught arms on these items, "
        f"four times in five: {', '.join(lines)}; smaller ones less often. This is before adjusting for their number."
    )


def _failures(results: WidthResults) -> str:
    return "\n".join(f"- {run['variant']}, seed {run['seed']}: {run['error']}" for run in results.failed)
