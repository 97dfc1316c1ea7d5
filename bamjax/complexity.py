"""Parameters and operations of a network, without running it."""

import math
from typing import Any

from flax import linen as nn
import jax
from jax.extend.core import jaxprs_in_params
import jax.numpy as jnp

from bamjax.layers import ACAM
from bamjax.layers import CA
from bamjax.layers import CBAM
from bamjax.layers import compile_for
from bamjax.layers import Conv
from bamjax.layers import LA
from bamjax.layers.attention import PReLU
from bamjax.models.registry import backbone
from bamjax.models.registry import identify

# Attentions that pool over height and width with PyTorch's layers for it. CCA's
# standard deviation is no layer there, and not counted.
_POOLING = (ACAM, CA, CBAM, LA)
# Operations an element, of functions that PyTorch has as layers.
_ACTIVATIONS = {"relu": 1, "leaky_relu": 1, "logistic": 3}


def parameters(module: nn.Module, variables: Any) -> int:
  """Parameters of a network as the BAM paper's Table 1 counts them.

  Args:
    module: a network made by `create_model` or `load_weights`.
    variables: its variables, or their shapes.

  Returns:
    The numbers that are trained, and the constants that released networks hold
    in mean-shift convs.

  Raises:
    ValueError: the module is not of a registered backbone.
  """
  return _trainable(variables) + backbone(identify(module)[0]).fixed


def _trainable(variables: Any) -> int:
  return sum(a.size for a in jax.tree.leaves(variables["params"]))


def summary(
  module: nn.Module, height: int = 240, width: int = 360
) -> dict[str, Any]:
  """Counts a network's parameters and operations.

  Args:
    module: a network made by `create_model` or `load_weights`.
    height: of the low-resolution input.
    width: of the low-resolution input.

  Returns:
    A dictionary of
      `parameters`: as the BAM paper's Table 1 counts them (`parameters`);
      `trainable`: numbers that are trained;
      `macs`: multiply-accumulates of all convolutions for one RGB image;
      `paper_gflops`: what the paper's Table 2 prints as GFLOPs, a float. It
        counts a convolution as k² (+ 1 with a bias) · C_in/groups an output;
        ReLU, LeakyReLU, PReLU, pixel shuffle and pooling as 1 an element and
        sigmoid as 3; but an activation that a block calls several times, as
        IMDN calls its LeakyReLU, once. About the multiply-accumulates, those
        of biased convs 1 + 1/k² times as many.

  Raises:
    ValueError: the module is not of a registered backbone.
  """
  lr = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), lr)
  macs = operations = 0

  def count(next_fun, args, kwargs, context):
    nonlocal macs, operations
    output = next_fun(*args, **kwargs)
    layer = context.module
    if context.method_name != "__call__":
      return output
    if isinstance(layer, Conv):
      maps = args[0] if isinstance(args[0], list) else args[:1]
      depth = sum(x.shape[-1] for x in maps) // layer.groups
      taps = layer.kernel_size**2
      macs += output.size * taps * depth
      operations += output.size * (taps + layer.use_bias) * depth
    elif isinstance(layer, PReLU):
      operations += output.size
    elif isinstance(layer, _POOLING):
      # An input element each, an output each, for the average and the max.
      pools = 1 + (isinstance(layer, CBAM) or getattr(layer, "max_pool", False))
      operations += pools * (args[0].size + args[0].shape[-1])
    return output

  with nn.intercept_methods(count), compile_for("export"):
    jaxpr = jax.make_jaxpr(module.apply)(variables, lr)
  operations += sum(_elementwise(jaxpr.jaxpr).values())
  return {
    "parameters": parameters(module, variables),
    "trainable": _trainable(variables),
    "macs": macs,
    "paper_gflops": operations / 1e9,
  }


def _elementwise(jaxpr, scope: str = "") -> dict[Any, int]:
  """Operations of activations, by block and kind, and of pixel shuffles."""
  counts = {}
  for i, equation in enumerate(jaxpr.eqns):
    # Flax names the scope of each equation by its module's path.
    here = f"{scope}/{equation.source_info.name_stack}"
    name = equation.params.get("name", equation.primitive.name)
    size = math.prod(equation.outvars[0].aval.shape)
    if name in _ACTIVATIONS:
      counts[here, name] = _ACTIVATIONS[name] * size
    elif _is_pixel_shuffle(equation):
      counts[here, i] = size
    else:
      for inner in jaxprs_in_params(equation.params):
        counts |= _elementwise(inner, f"{here}/{i}")
  return counts


def _is_pixel_shuffle(equation) -> bool:
  """Whether it is the transposition in `bamjax.layers.pixel_shuffle`."""
  return equation.primitive.name == "transpose" and equation.params[
    "permutation"
  ] == (0, 1, 4, 2, 5, 3)
