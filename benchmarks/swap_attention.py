"""Puts BAM in the place of a trained network's attention, to train on from.

  python -m benchmarks.swap_attention bsrn_x4.safetensors --images=PHOTOS \
    --output=start.safetensors

An attention multiplies its input by weights between 0 and 1, and the rest of
the network expects these. BAM begins as a constant ¼ here (its last
convolutions are zero), and the convolution before it takes over, in each
channel, what the old attention multiplied by on average: the network begins
close to where it was. Train with `python train.py --init_from=…`.
"""

import argparse
from pathlib import Path
from typing import Any

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from bamjax.errors import UserError
from bamjax.images import rgb
from bamjax.layers import Attention
from bamjax.layers import Conv
from bamjax.models import registry
from bamjax.networks import load_weights
from bamjax.weights import save_weights
from benchmarks import running

# What BAM multiplies by where its last convolutions are zero.
_BEGINNING = 0.25
# Side of the crop in the middle of each image, in pixels.
_SIDE = 128


def factors(
  module: nn.Module, variables: Any, images: list[np.ndarray]
) -> dict[tuple[str, ...], np.ndarray]:
  """What each attention multiplies by, for each channel.

  Args:
    module: a network with C channels before its attentions.
    variables: its variables.
    images: RGB in [0, 1], H×W×3, of one size.

  Returns:
    For the path of the convolution before each attention, C factors: those of
    the least squared error over all images.

  Raises:
    UserError: there is no attention, or something else than a convolution
      before one.
  """

  def products(image: jax.Array) -> dict[tuple[str, ...], jax.Array]:
    found = {}
    path, output = (), None

    def intercept(call, args, kwargs, context):
      nonlocal path, output
      before = path  # an attention has convolutions of its own
      follows = bool(args) and args[0] is output
      y = call(*args, **kwargs)
      if context.module.name == "attention":
        if not follows:
          raise UserError("there is no convolution right before the attention")
        found[before] = jnp.stack([args[0] * y, args[0] ** 2]).sum((1, 2, 3))
      elif isinstance(context.module, Conv):
        path, output = context.module.path, y
      return y

    with nn.intercept_methods(intercept):
      module.apply(variables, image[None])
    return found

  compiled = jax.jit(products)
  each = [compiled(image) for image in images]
  if not each[0]:
    raise UserError("the network has no attention")
  return {
    path: np.divide(*sum(np.asarray(found[path], float) for found in each))
    for path in each[0]
  }


def swap(
  module: nn.Module, variables: Any, images: list[np.ndarray], seed: int = 0
) -> tuple[nn.Module, dict[str, Any]]:
  """Replaces the attention by BAM.

  Args:
    module: the network.
    variables: its variables.
    images: RGB in [0, 1], H×W×3, of one size: what the factors are measured on.
    seed: of BAM's other parameters.

  Returns:
    The network with BAM, and its variables.

  Raises:
    UserError: see `factors`.
  """
  measured = factors(module, variables, images)
  name, _ = registry.identify(module)
  attention = Attention("bam", registry.backbone(name).reduction)
  with_bam = module.clone(attention=attention)
  fresh = with_bam.init(jax.random.key(seed), jnp.zeros((1, 16, 16, 3)))
  flat = {
    **traverse_util.flatten_dict(fresh["params"]),
    **{
      path: value
      for path, value in traverse_util.flatten_dict(variables["params"]).items()
      if "attention" not in path
    },
  }
  for path, factor in measured.items():
    for name in ("kernel", "bias"):
      flat[*path, name] = flat[*path, name] * (factor / _BEGINNING)
  for path, value in flat.items():
    if path[-3:] == ("mlp", "excite", "kernel") or (
      path[-3:] == ("msam", "conv", "kernel")
    ):
      flat[path] = jnp.zeros_like(value)
  return with_bam, {"params": traverse_util.unflatten_dict(flat)}


def main() -> None:
  """Loads, measures and writes."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("weights")
  parser.add_argument("--images", type=Path, required=True, help="a folder")
  parser.add_argument("--output", required=True)
  args = parser.parse_args()

  module, variables = load_weights(args.weights)
  images = []
  for path in rgb.list_images(args.images)[:20]:
    image = rgb.read_rgb(path)
    top, left = (max(0, (n - _SIDE) // 2) for n in image.shape[:2])
    crop = image[top : top + _SIDE, left : left + _SIDE]
    images.append(np.float32(crop) / 255)
  module, variables = swap(module, variables, images)
  save_weights(args.output, module, variables, {"init_from": args.weights})


if __name__ == "__main__":
  running.run(main)
