"""Counts the parameters and operations of a network without running it."""

from collections.abc import Callable
from collections.abc import Mapping
import math
from typing import Any

from flax import linen as nn
import jax
from jax.extend.core import Jaxpr
from jax.extend.core import JaxprEqn
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

# Attentions whose pools over height and width are layers in PyTorch. CCA's
# standard deviation isn't, and is not counted.
_POOLING = (ACAM, CA, CBAM, LA)
# Operations per element of activations that are layers in PyTorch.
_ACTIVATIONS = {"relu": 1, "leaky_relu": 1, "logistic": 3}


def parameters(module: nn.Module, variables: Mapping[str, Any]) -> int:
  """Counts the parameters of a network as the BAM paper's Table 1 does.

  Args:
    module: a network from `create_model` or `load_weights`.
    variables: its variables, `{"params": …}`, or their shapes.

  Returns:
    The number of trained values, plus the constants in the mean-shift
    convolutions of released networks.

  Raises:
    ValueError: the module is not a registered backbone.
  """
  return _trainable(variables) + backbone(identify(module)[0]).fixed


def _trainable(variables: Mapping[str, Any]) -> int:
  return sum(a.size for a in jax.tree.leaves(variables["params"]))


def summary(
  module: nn.Module, height: int = 240, width: int = 360
) -> dict[str, Any]:
  """Counts the parameters and operations of a network.

  Args:
    module: a network from `create_model` or `load_weights`.
    height: height of the LR image, in pixels.
    width: width of the LR image, in pixels.

  Returns:
    A dict.

    - `parameters`: as the BAM paper's Table 1 counts them;
    - `trainable`: number of trained values;
    - `macs`: multiply-accumulates of all convolutions for one RGB image;
    - `paper_gflops`: what the paper's Table 2 prints as GFLOPs. A convolution
      counts as (k² + 1 with a bias) · C_in/groups per output value; ReLU,
      LeakyReLU, PReLU, pixel shuffle and pooling as 1 per element; sigmoid as
      3. An activation that a block calls several times, such as IMDN's
      LeakyReLU, counts once. About `macs`, but 1 + 1/k² times as many for
      convolutions with biases.

  Raises:
    ValueError: the module is not a registered backbone, or the image has no
      pixel.
  """
  if min(height, width) < 1:
    raise ValueError(f"an image has at least 1×1 pixels; got {height}×{width}")
  lr = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), lr)
  macs = operations = 0

  def count(
    call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
  ) -> Any:
    nonlocal macs, operations
    output = call(*args, **kwargs)
    layer = context.module
    if context.method_name != "__call__":
      return output
    if isinstance(layer, Conv):
      maps = args[0] if isinstance(args[0], list) else args[:1]
      depth = sum(x.shape[-1] for x in maps) - kwargs.get("skip", 0)
      depth //= layer.groups
      taps = layer.kernel_size**2
      macs += output.size * taps * depth
      operations += output.size * (taps + layer.use_bias) * depth
    elif isinstance(layer, PReLU):
      operations += output.size
    elif isinstance(layer, _POOLING):
      # One for each input and output element, of the mean and the maximum.
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


def _elementwise(jaxpr: Jaxpr, scope: str = "") -> dict[tuple[str, Any], int]:
  """Operations of activations, by block and kind, and of pixel shuffles."""
  counts: dict[tuple[str, Any], int] = {}
  for i, equation in enumerate(jaxpr.eqns):
    # Flax puts the module's path in the name stack.
    here = f"{scope}/{equation.source_info.name_stack}"
    name = equation.params.get("name", equation.primitive.name)
    size = math.prod(getattr(equation.outvars[0].aval, "shape", ()))
    if name in _ACTIVATIONS:
      counts[here, name] = _ACTIVATIONS[name] * size
    elif _is_pixel_shuffle(equation):
      counts[here, i] = size
    else:
      for inner in jaxprs_in_params(equation.params):
        counts |= _elementwise(inner, f"{here}/{i}")
  return counts


def _is_pixel_shuffle(equation: JaxprEqn) -> bool:
  """Whether an operation is the transpose in `bamjax.layers.pixel_shuffle`."""
  return equation.primitive.name == "transpose" and equation.params[
    "permutation"
  ] == (0, 1, 4, 2, 5, 3)
