"""Loading the network of a run's folder."""

import contextlib
from pathlib import Path
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from bamjax.errors import UserError
from bamjax.runs import experiment
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.checkpoints import Checkpoints
from bamjax.runs.recipe import Recipe


def load(
  path: Path, step: int | None = None
) -> tuple[Recipe, nn.Module, dict[str, Any], int]:
  """Loads a run's network for inference and leaves the folder unchanged.

  Reads only the parameters from the checkpoint, not the optimizer's state, and
  compiles nothing.

  Args:
    path: the run's folder. Another process may be training in it.
    step: the checkpoint's step; None loads the best one by PSNR-Y.

  Returns:
    The configuration; the module; its variables, {"params": …} of float32
    arrays (their moving average if the run keeps one); the checkpoint's step.

  Raises:
    UserError: the folder is not a run's, or has no such checkpoint.
  """
  config = recipe_lib.load(path / recipe_lib.CONFIG)
  try:
    experiment.check(config)
    module = experiment.build_model(config)
    described = _described(module)
  except UserError as error:
    raise UserError(f"{path / recipe_lib.CONFIG}: {error}") from None
  if not (path / recipe_lib.CHECKPOINTS).is_dir():
    raise UserError(f"{path} has no checkpoint yet")
  name = "ema" if config.optim.ema_decay > 0 else "params"
  like = {name: described}
  with contextlib.closing(Checkpoints(path, read_only=True)) as checkpoints:
    steps = checkpoints.steps()
    if not steps or (step is not None and step not in steps):
      wanted = "checkpoint" if step is None else f"checkpoint of step {step}"
      raise UserError(
        f"{path} has no {wanted}; existing steps: {steps or 'none'}"
      )
    if step is None:
      tree, step = checkpoints.restore_best(like)
    else:
      tree = checkpoints.restore_step(like, step)
  return config, module, {"params": tree[name]}, step


def _described(module: nn.Module) -> Any:
  """Shapes and dtypes of a network's parameters, on the first device.

  Raises:
    UserError: its hyper-parameters do not go together.
  """
  key = jax.eval_shape(lambda: jax.random.key(0))
  image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  try:
    params = jax.eval_shape(module.init, key, image)["params"]
  # Such as more groups than channels; Flax and JAX raise what they like.
  except (TypeError, ValueError) as error:
    reason = " ".join(str(error).split())
    raise UserError(f"this network cannot be built: {reason}") from error
  place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), params
  )
