"""The tables of a study's page."""

from math import inf, isfinite, isnan, sqrt

from mot_trl.evaluation.report import cell, markdown_table
from mot_trl.evaluation.statistics import Estimate
from recipes.study.arms import PLAIN, Arm, law_of, laws, study_arms, untrained_arm
from recipes.study.results import Results
from recipes.study.statistics import Difference, detectable

FEW = (2, 3, 5, 8, 10)


def what_was_run(results: Results) -> str:
    """The settings in words, how much of the study is done, and the learning rates tried."""
    given = results.settings
    done = sum(len(results.runs[arm.name]) for arm in results.arms)
    text = (
        f"{len(results.arms)} of {len(study_arms())} arms, {done} runs so far. Each: {given['steps']} steps of "
        f"{given['prompts']} prompts x {given['generations']} completions of at most {given['max_new_tokens']} "
        f"tokens, each prompt new to the model; AdamW at a constant {given['learning_rate']:g}, all else as TRL's "
        f"GRPO has it; temperature 1; one thread. Measured on {given['items']} held-out items x {given['samples']} "
        f"completions, from the split that is not trained on; the families ({', '.join(given['tasks'])}) by turns."
    )
    if not results.tuned:
        return text
    rows = [[f"{arm.learning_rate:g}", cell(results.end(arm))] for arm in results.tuned]
    told = "The learning rate was chosen by plain GRPO alone, on a seed that is not the study's:"
    return f"{text}\n\n{told}\n\n" + markdown_table(["learning rate", "end"], rows)


def accuracy(results: Results) -> str:
    """Every arm against plain GRPO and against its control."""
    others = [arm for arm in results.arms if arm.name != PLAIN]
    mixed = results.of_kind("mixture", "score")
    to_plain = results.against(others, lambda arm: PLAIN)
    to_control = results.against(mixed, lambda arm: arm.control)
    rows = [
        [
            f"`{arm.name}`",
            arm.settings.mixture_score if arm.kind != "control" else "",
            str(len(results.runs[arm.name])),
            number(results.start(arm)),
            cell(results.end(arm)),
            number(results.deviation(arm)),
            *signed(to_plain.get(arm.name)),
            f"`{arm.control}`" if arm.kind != "control" else "",
            *signed(to_control.get(arm.name)),
        ]
        for arm in results.arms
    ]
    return markdown_table(
        ["arm", "score", "seeds", "start", "end", "sd", "less plain", "p", "control", "less control", "p"], rows
    )


def reach(results: Results) -> str:
    """Trajectories and seconds to plain GRPO's last level."""
    base = results.reached_median(results.named(PLAIN))
    rows = []
    for arm in results.arms:
        reached, (trajectories, seconds) = results.reached(arm), results.reached_median(arm)
        own_control = results.reached_median(results.named(arm.control))
        rows.append(
            [
                f"`{arm.name}`",
                f"{sum(isfinite(each[0]) for each in reached)} of {len(reached)}",
                whole(trajectories),
                ratio(trajectories, base[0]),
                ratio(trajectories, own_control[0]) if arm.kind != "control" else "",
                whole(seconds),
                ratio(seconds, base[1]),
            ]
        )
    header = ["arm", "reached by", "trajectories", "of plain's", "of its control's", "seconds", "of plain's"]
    return markdown_table(header, rows)


def became(results: Results) -> str:
    """What each arm's last checkpoints are like."""
    rows = []
    for arm in results.arms:
        runs = list(results.runs[arm.name].values())
        first, last = (sum(run["candidates"][end] for run in runs) / len(runs) for end in (0, 1))
        rows.append(
            [
                f"`{arm.name}`",
                cell(results.end(arm)),
                cell(results.end(arm, k=min(8, results.samples))),
                number(results.end(arm, law=PLAIN).mean),
                number(results.end(arm, law=arm.control).mean),
                f"{results.mean(arm, 'thinking'):.1f}",
                number(1 - results.mean(arm, "closed")),
                f"{first:.2f}, {last:.2f}",
                f"{sum(run['seconds'][-1] for run in runs) / len(runs):.0f}",
            ]
        )
    header = ["arm", "pass@1", f"pass@{min(8, results.samples)}", "in plain tokens", "in its control's"]
    return markdown_table([*header, "thinking, tokens", "never closed", "candidates", "seconds"], rows)


def scores(results: Results) -> str:
    """Each law that has several scores, under each."""
    by_law: dict[str, dict[str, Arm]] = {}
    for arm in results.of_kind("mixture", "score"):
        by_law.setdefault(arm.name.split(", ")[0], {})[arm.settings.mixture_score] = arm
    several = {law: arms for law, arms in by_law.items() if {"density", "visible"} <= set(arms)}
    if not several:
        return "No law has runs with both scores yet."
    visible = [arms["visible"] for arms in several.values()]
    compared = results.against(visible, lambda arm: by_law[arm.name.split(", ")[0]]["density"].name)
    rows = [
        [
            f"`{law}`",
            *(cell(results.end(arms[how])) if how in arms else "" for how in ("density", "visible", "expected")),
            *signed(compared[arms["visible"].name]),
        ]
        for law, arms in several.items()
    ]
    return markdown_table(["law", "density", "visible", "expected", "visible less density", "p"], rows)


def cross(results: Results) -> str:
    """All pairs of training and inference that were tried, in per cent."""
    rows, names = cross_shares(results)
    if not rows:
        return "No run has been tried under every law yet."
    numbers = {law: str(number) for number, law in enumerate(names, 1)}
    bold = {True: "**", False: ""}
    cells = [
        [f"`{arm}`", *(f"{bold[law == own]}{100 * share:.0f}{bold[law == own]}" for law, share in shares.items())]
        for arm, (own, shares) in rows.items()
    ]
    legend = "; ".join(f"{number}: `{law}`" for law, number in numbers.items())
    return markdown_table(["trained, used", *numbers.values()], cells) + f"\n\nColumns: {legend}."


def cross_shares(results: Results) -> tuple[dict[str, tuple[str, dict[str, float]]], list[str]]:
    """For each arm with such a trial its own law, and the mean accuracy under each law; and the laws."""
    names = list(laws())
    rows = {}
    for arm in [*(arm for arm in [untrained_arm()] if arm.name in results.runs), *results.arms]:
        tried = [run["cross"] for run in results.runs[arm.name].values() if "cross" in run]
        if tried:
            shares = {law: sum(each[law] for each in tried) / len(tried) for law in names if law in tried[0]}
            rows[arm.name] = (law_of(arm.settings), shares)
    return rows, names


def families(results: Results) -> str:
    """Accuracy by family."""
    tasks = results.settings["tasks"]
    rows = [
        [f"`{arm.name}`", *(f"{100 * results.end(arm, family=task).mean:.0f}" for task in tasks)]
        for arm in results.arms
    ]
    return markdown_table(["arm", *tasks], rows)


def seen(results: Results) -> str:
    """The least differences that numbers of seeds can see, from the spread that was observed."""
    alone, paired = results.spread.deviation, results.paired_spread.deviation
    if isnan(alone):
        return "One seed has no spread, so nothing can be said yet."
    arms = len(results.arms)
    rows = [
        [
            str(seeds),
            number(detectable(seeds, paired=True) * paired),
            number(detectable(seeds) * alone),
            number(detectable(seeds, arms=arms) * alone),
        ]
        for seeds in FEW
    ]
    text = (
        f"Between seeds, accuracies of one arm have a standard deviation of {alone:.3f}, and their differences from "
        f"plain GRPO's of the same seed one of {paired:.3f} (pooled over arms); of unrelated runs it would be "
        f"{sqrt(2) * alone:.3f}. The least true difference of two arms that a two-sided t-test at the 5 % level finds "
        "with 80 % chance, on these items: paired by seed; unpaired; unpaired with the standard deviation of all "
        f"{arms} arms together, which is how the tables above compare. The adjustment for the number of arms asks for "
        "more, and so does speaking of other items than these."
    )
    return f"{text}\n\n" + markdown_table(["seeds", "paired", "unpaired", "all arms together"], rows)


def failures(results: Results) -> str:
    """The runs that raised, and what."""
    if not results.failed:
        return "None."
    return "\n".join(f"- `{line['arm']}`, seed {line['seed']}: {line['error']}" for line in results.failed)


def signed(compared: tuple[Difference, float] | None) -> list[str]:
    """A difference with its interval, and its adjusted p-value."""
    if compared is None:
        return ["", ""]
    found, adjusted = compared
    low, high = found.mean - found.half, found.mean + found.half
    told = number(found.mean, sign="+") if isnan(found.half) else cell(Estimate(found.mean, low, high), signed=True)
    return [told, f"{adjusted:.2g}" if isfinite(adjusted) else "-"]


def number(value: float, *, sign: str = "") -> str:
    """A share, or `-` where there is none."""
    return f"{value:{sign}.3f}" if isfinite(value) else "-"


def whole(value: float) -> str:
    """A count, `never` where it is infinite."""
    return "never" if value == inf else "-" if isnan(value) else f"{value:,.0f}"


def ratio(value: float, base: float) -> str:
    """A share of something, where both are known."""
    return f"{value / base:.2f}" if isfinite(value) and isfinite(base) and base > 0 else "-"
