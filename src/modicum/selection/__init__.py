"""selection: from vectors, numbers and a budget to picks.

A selector is a function that returns an iterator of `Step`s, best first. It takes arrays whose
row i is row i of the pool, leaves them as they were, and offers each row at most once; a row
with a value that is not finite is never offered; ties go to the lower position; the same seed
gives the same picks. It never hears of the budget: `spend` takes steps until the budget is
spent, so the picks for 100 are the first 100 of the picks for 500, and tokens can be a budget
for every selector.

Numbers in, numbers out: nothing here opens a file or loads a model.
"""

from modicum.selection.apportion import apportion
from modicum.selection.budget import Budget, Step, spend
from modicum.selection.clusters import Clusters, Near, by_quota, kmeans, near
from modicum.selection.coresets import coresets
from modicum.selection.density import densities, inverse_propensity
from modicum.selection.diversity import nearest_distance, vendi
from modicum.selection.facility import facility
from modicum.selection.kcenter import kcenter
from modicum.selection.nearest import near_target
from modicum.selection.ranking import balanced, band, uniform
from modicum.selection.threshold import apart
from modicum.selection.transport import pairwise, wasserstein
from modicum.selection.turns import near_groups

__all__ = [
    "Budget",
    "Clusters",
    "Near",
    "Step",
    "apart",
    "apportion",
    "balanced",
    "band",
    "by_quota",
    "coresets",
    "densities",
    "facility",
    "inverse_propensity",
    "kcenter",
    "kmeans",
    "near",
    "near_groups",
    "near_target",
    "nearest_distance",
    "pairwise",
    "spend",
    "uniform",
    "vendi",
    "wasserstein",
]
