"""Evaluation: how good a model is on held-out rows, what it forgot, and whether that is chance.

`measures` names what can be asked, `heldout` gives a value per row and measure, `options` and
`choices` how likely given answers are, and `judge` what another model says of them; `harness` hands
over to another evaluation. `forgetting` turns a matrix of stages and tasks into the numbers of
continual learning, `paired` differences of paired values into intervals, `verdicts` those into what
is shown. The last three are numbers in, numbers out.
"""

from modicum.evaluation.choices import Chosen, choose
from modicum.evaluation.heldout import Evaluated, evaluate, paired_differences
from modicum.evaluation.judge import Asked, Judge, Judged, length_controlled, relative_score
from modicum.evaluation.measures import scoring
from modicum.evaluation.options import OptionLosses, option_losses
from modicum.evaluation.paired import (
    Difference,
    Interval,
    compare_paired,
    paired_bootstrap,
    seeds_and_examples,
)
from modicum.evaluation.verdicts import Ratio, holm, ratio_interval, verdict

__all__ = [
    "Asked",
    "Chosen",
    "Difference",
    "Evaluated",
    "Interval",
    "Judge",
    "Judged",
    "OptionLosses",
    "Ratio",
    "choose",
    "compare_paired",
    "evaluate",
    "holm",
    "length_controlled",
    "option_losses",
    "paired_bootstrap",
    "paired_differences",
    "ratio_interval",
    "relative_score",
    "scoring",
    "seeds_and_examples",
    "verdict",
]
