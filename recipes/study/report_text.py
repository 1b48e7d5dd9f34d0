"""What the page of a study says around its tables."""

INTRODUCTION = """\
# Do models that think in mixtures learn faster? A study in miniature

Every preset, trained with GRPO on the embedded model, against plain GRPO and against **plain GRPO on the same
support**: ordinary tokens drawn from the candidates that the mixture would have had. Written by `python -m
recipes.study` from `study/runs.jsonl`, one line a run; nothing here is written by hand, and what it says changes with
the lines. `recipes/study/train.py` makes them."""

ACCURACY = """\
Held-out accuracy of the last checkpoint, never of the best, under the arm's own law, at temperature 1. *start*: the
untrained model under that law. *end*: mean over seeds and items, with a 95 % bootstrap interval over the items, which
are the same for all; *sd*: between seeds. Differences are on the seeds that both arms have (the same prompts in the
same order). Their 95 % intervals and p-values, by Student's t, count both what varies with the seed, by one standard
deviation for all arms, since so few seeds cannot say it of a single one, and what varies with the items. So an arm
that is more erratic than most is judged too kindly. p-values are adjusted for the number of rows of the column (Holm).
The *control* of a mixture is named in its row; where it draws from all tokens, that is plain GRPO. In the figure, bars
are single seeds."""

BECAME = """\
*pass@1* and *pass@8* under the arm's own law, with 95 % bootstrap intervals over items; *in plain tokens*: the same
model, ordinary sampling; *in its control's*: ordinary tokens from the law's support. *candidates*: effective ones in a
mixture (1 / sum of squared weights), at the first and at the last step. *seconds*: of processor time for the training
of one run."""

SCORES = """\
The same law, scored by its density or by the visible token's probability (by `expected`, where that is what was
published). Difference and p-value as above: visible less density."""

CROSS = """\
Accuracy, in per cent: trained as the row says, used as the column says. The first seeds only, one completion an item,
so a figure's standard error is up to five points; a row's own law is in bold."""

FAMILIES = """\
Accuracy at the end under the arm's own law, in per cent, mean over seeds. `reach` (which goal can be reached in a
graph) and `signed` (the smallest signed sum above -1, CoT2's) are those where keeping alternatives open should pay."""

HOW_SOON = """\
Every step's rollouts are of prompts that the model has not seen, so their accuracy is measured for nothing and needs
no held-out items: the curves are means over the last {window} steps ({rollouts} rollouts), under the arm's own law.
The level is plain GRPO's last one, {level:.3f} (mean over its seeds). A seed reaches it with the first step whose mean
is at least that; figures are medians over seeds, `never` where half of them do not. Plain GRPO is under the same rule,
which favours whoever is noisier. *seconds*: of processor time spent in training, which other work on the machine
hardly changes. A law whose *start* is higher is there sooner without learning faster: its control tells."""

LIMITS = """\
- It is not about large models. The embedded one has about a million parameters, a small vocabulary of characters,
  and was trained on demonstrations whose thinking is a few dozen tokens long; a mixture of two digits need not act
  as a mixture of two words does.
- It is not a reproduction of any paper. Presets have the papers' settings of the law and the score, not their
  models, data, temperatures or budgets; "where we differ" is in [strategies.md](strategies.md). No preset was tuned
  here.
- Only plain GRPO's learning rate was tuned, once, and all arms use it: that favours plain GRPO, if anything.
- A cold stop of 256 steps (`soft_thinking`) never fires in completions this short.
- Many arms and few seeds: an unadjusted p-value below 0.05 somewhere is to be expected of chance alone."""
