"""A run that starts from the weights of another network."""

from typing import Any

from flax import traverse_util
import ml_collections

from bamjax.errors import UserError
from bamjax.networks import load_network
from bamjax.weights import Hints
from bamjax.weights.scales import AmbiguousScale


def take_weights(
  params: dict[str, Any], module, config: ml_collections.ConfigDict
) -> dict[str, Any]:
  """Takes what fits of `config.init_from`, and tells what does not.

  The literature starts ×3 and ×4 from ×2, whose upsampler differs; an attention
  can be added to a network that was trained without.

  Args:
    params: fresh parameters.
    module: their network.
    config: names the weights: a file of published weights, or a run's folder.

  Returns:
    The parameters, those of the same place and shape taken over.

  Raises:
    UserError: the weights can't be read, are of another backbone or of another
      input convention, or none fits.
  """
  source = config.init_from
  try:
    network = load_network(source, Hints(config.model))
  except AmbiguousScale as error:  # whose tensors are the same at any of them
    network = load_network(source, Hints(config.model, scale=error.scales[0]))
  if network.module.normalization != module.normalization:
    raise UserError(
      f"init_from={source} is fed otherwise than this run; give the"
      " --config.normalization that its network has"
    )
  fresh = traverse_util.flatten_dict(params, sep="/")
  given = traverse_util.flatten_dict(network.variables["params"], sep="/")
  taken = {
    name: given[name]
    for name, value in fresh.items()
    if name in given and given[name].shape == value.shape
  }
  if not taken:
    raise UserError(f"init_from={source}: none of its weights fits")
  rest = sorted({name.rpartition("/")[0] for name in fresh.keys() - taken})
  print(
    f"{source}: {len(taken)} of {len(fresh)} arrays taken"
    + (f"; fresh: {', '.join(rest)}" if rest else "")
  )
  return traverse_util.unflatten_dict({**fresh, **taken}, sep="/")
