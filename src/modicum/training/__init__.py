"""Training: supervised tuning through TRL, on rows rendered by `render`.

`Recipe` says how, in TRL's own words; `tune` does it once; `Evolving` and `Rounds` keep the models
and the finished rounds of a method that tunes again and again. Nothing here imports TRL or torch
before it is needed.
"""

from modicum.training.evolving import Evolving
from modicum.training.options import Recipe
from modicum.training.rounds import Rounds, from_json, to_json
from modicum.training.tune import Tuned, tune

__all__ = ["Evolving", "Recipe", "Rounds", "Tuned", "from_json", "to_json", "tune"]
