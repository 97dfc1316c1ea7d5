"""Initializes a run from the weights of another network."""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn
from flax import traverse_util

from bamjax.errors import UserError
from bamjax.networks import load_network
from bamjax.runs.recipe import Recipe
from bamjax.weights import Hints
from bamjax.weights.pytorch import AmbiguousScale


def take_weights(
  params: Mapping[str, Any],
  module: nn.Module,
  config: Recipe,
) -> dict[str, Any]:
  """Copies every array of `config.init_from` whose name and shape match.

  Prints which arrays keep their initial values. In the literature, ×3 and ×4
  start from ×2, with another upsampler; attention can be added to a network
  that was trained without it.

  Args:
    params: initial parameters.
    module: their network.
    config: the run's configuration, whose `init_from` names a file of weights,
      shipped weights or a run's folder.

  Returns:
    The parameters, with the matching arrays replaced.

  Raises:
    UserError: the weights cannot be read, belong to another backbone or another
      normalization, or no array matches.
  """
  source = config.init_from
  try:
    network = load_network(source, Hints(config.model))
  except AmbiguousScale as error:  # the tensors are the same at any scale
    network = load_network(source, Hints(config.model, scale=error.scales[0]))
  if network.module.normalization != module.normalization:
    raise UserError(
      f"init_from={source} normalizes its input differently; use"
      f" --config.normalization={network.module.normalization}"
    )
  fresh = traverse_util.flatten_dict(params, sep="/")
  given = traverse_util.flatten_dict(network.variables["params"], sep="/")
  taken = {
    name: given[name]
    for name, value in fresh.items()
    if name in given and given[name].shape == value.shape
  }
  if not taken:
    raise UserError(
      f"init_from={source}: no array matches this run's network in name and"
      " shape"
    )
  rest = sorted({name.rpartition("/")[0] for name in fresh.keys() - taken})
  print(
    f"{source}: copied {len(taken)} of {len(fresh)} arrays"
    + (f"; newly initialized: {', '.join(rest)}" if rest else "")
  )
  return traverse_util.unflatten_dict({**fresh, **taken}, sep="/")
