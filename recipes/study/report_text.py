"""Text around the tables of a study's page."""

TITLE = "# Do models that think in mixtures learn faster? A study in miniature"

INTRODUCTION = """\
Every preset, trained with GRPO on nano, against two baselines: plain GRPO, and **plain GRPO on the same support**,
which draws ordinary tokens from the candidates that the mixture would have had (the *matched control*). `python -m
recipes.study docs/study/runs.jsonl` generates this page, figures, conclusion and summary included, from one JSON line
per run; `python -m recipes.study.train` makes those. "More than chance explains" means an adjusted p-value below 0.05,
by the tests of the section on accuracy."""

PAUSE_TOKENS = """\
`pause_tokens` is plain GRPO without thoughts of its own: `<think>`, {pauses} dots and `</think>` end each prompt, and
the model draws and learns the answer that follows. That is the number of steps that plain GRPO's final models think
for on average, rounded up, the same for every question. Nano has never seen such dots, and learns them from the
reward alone, as all else. Since nothing of the thinking is drawn, the columns on thinking show 0 for it."""

RERUNS = """\
A score that changes does not touch the other variants. A second run of two of them (`python -m recipes.study.train
--results again.jsonl --seeds 1 --variants vanilla multiplex`) shows it: `vanilla` repeats its line figure by figure;
`multiplex` repeats its first steps and then draws other tokens, as where only the rounding of blends differs."""

ACCURACY = """\
Held-out accuracy of the last checkpoint, never of the best, under the variant's own sampler, at temperature 1.
*start*: the untrained model under that sampler. *end*: mean over seeds and items, with a 95 % bootstrap interval over
items, which are the same for all variants. *std*: between seeds. Differences are on the seeds that both variants have
(same prompts in the same order). Their 95 % intervals and p-values (Student's t) combine two sources of error: seeds,
with one standard deviation pooled over all variants because few seeds cannot tell it for a single one, and items. A
variant that is more erratic than most is therefore judged too favorably. p-values are adjusted for the number of rows
of their column (Holm). A mixture that draws from the whole vocabulary has plain GRPO as its matched control. In the
figure, ticks are single seeds."""

FINAL_MODELS = """\
*pass@1* and *pass@8* under the variant's own sampler, with 95 % bootstrap intervals over items; then the accuracy of
the same model with *ordinary sampling*, and with its *control's sampler*: ordinary tokens from the sampler's support.
*candidates*: effective number in a mixture (1 / sum of squared weights), at the first and the last step. *seconds*:
processor time of one training run."""

SCORES = """\
The same sampler, trained with the density of its draw or with the probability of the visible token, under the
distribution that it was drawn from, in the loss (or with `expected`, where that is what was published). Difference and
p-value as above: visible minus density."""

CROSS = """\
Accuracy in percent: trained as the row says, used as the column says. First seeds only, one completion per item, so
the standard error of a figure is up to five points. A row's own sampler is in bold; a variant whose first seed has not
been run has no row."""

FAMILIES = """\
Final accuracy under the variant's own sampler, in percent, mean over seeds. `reach` (which goal is reachable in a
graph) and `signed` (the smallest signed sum above -1, from CoT2) are the families where keeping alternatives open
should pay."""

HOW_SOON = """\
Rollouts always have prompts that are new to the model, so their accuracy needs no held-out items: the curves are means
over the last {window} steps ({rollouts} rollouts), under the variant's own sampler. The level is plain GRPO's final
one, {level:.3f} (mean over its seeds). A seed reaches it at the first step whose mean is at least that. Figures are
medians over seeds, `never` where half of them do not reach it. Plain GRPO is held to the same rule, which favors noisy
variants. *seconds*: processor time spent in training, which hardly depends on the load of the machine. A sampler with
a higher *start* gets there sooner without learning faster; compare it with its control."""

LIMITS = """\
- It is not about large models. Nano has about a million parameters and a small vocabulary of characters, and thinks
  for about ten tokens; a mixture of two digits need not act as a mixture of two words does.
- It is not a reproduction of any paper. Presets have the papers' settings of sampler and surrogate, not their models,
  data, temperatures or budgets; "where we differ" is in [strategies.md](strategies.md). No preset was tuned here.
- Only plain GRPO's learning rate was tuned, once, and all variants use it. If anything, that favors plain GRPO.
- A cold stop of 256 steps (`soft_thinking`) never fires in completions this short.
- With many variants and few seeds, some unadjusted p-value below 0.05 is to be expected by chance alone."""
