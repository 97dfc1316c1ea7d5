"""Training on the outputs of a teacher (knowledge distillation)."""

from collections.abc import Callable
import hashlib
from typing import Any

from flax import traverse_util
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from bamjax import pretrained
from bamjax.errors import UserError
from bamjax.inference.precision import with_dtype
from bamjax.networks import load_network
from bamjax.networks import Network
from bamjax.runs import experiment
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Recipe
from bamjax.training.state import Teacher
from bamjax.training.state import TrainState
from bamjax.weights import store
from bamjax.weights.hints import Hints

Step = Callable[..., TrainState]


def find(
  config: Recipe,
) -> tuple[Recipe, Teacher | None]:
  """Checks a configuration and loads its teacher.

  Args:
    config: the run's configuration, which stays as it is.

  Returns:
    The configuration, in which the teacher's SHA-256 and licence are filled in;
    and the teacher, which computes in the run's dtype, or None.

  Raises:
    UserError: the configuration is invalid, or the teacher can't be read, has
      another scale, or is not that of the configuration's SHA-256.
  """
  experiment.check(config)
  given = config.teacher
  if not given.source:
    return config, None
  try:
    network = load_network(given.source, Hints(scale=config.scale))
  except UserError as error:
    raise UserError(f"teacher for ×{config.scale}: {error}") from error
  found = _sha256(network)
  if given.sha256 not in ("", found):
    raise UserError(
      f"the teacher {given.source} is not the one that the configuration names:"
      f" its SHA-256 is {found}, not {given.sha256}"
    )
  licence = given.licence or _licence(network)
  known = {"sha256": found, "licence": licence}
  config = recipe_lib.changed(config, {"teacher": known})
  module = with_dtype(network.module, config.dtype)
  return config, Teacher(network.variables["params"], module.apply)


def _sha256(network: Network) -> str:
  """Hashes a teacher's file, or the weights of a run's checkpoint."""
  path = pretrained.find(network.source)
  if path.is_file():
    with path.open("rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()
  total = hashlib.sha256()
  flat = traverse_util.flatten_dict(network.variables["params"], sep="/")
  for name, value in sorted(flat.items()):
    total.update(f"{name} {value.shape}\n".encode())
    total.update(np.asarray(value).tobytes())
  return total.hexdigest()


def _licence(network: Network) -> str:
  """What a file's card says of it; "" if that is nothing."""
  path = pretrained.find(network.source)
  card = store.read_card(path) if store.is_own(path) else {}
  return str(card.get("licence", ""))


def on_taught(
  step: Step, weight: float, *, ensemble: bool = False, parts: int = 1
) -> Step:
  """Makes a step compute the teacher's outputs first, on the device.

  They are those of clean LR: what degrades LR comes after. A sample of LR only
  (`lr_only` in the batch) has the teacher's output as its HR, in 8 bits, from
  which it is degraded, and as its only target.

  Args:
    step: maps (state, batch, axis_name=…) to the next state.
    weight: of the teacher's output as the target of samples with HR, 0 to 1.
    ensemble: whether to average its outputs for the eight symmetries.
    parts: number of parts in which it processes the batch.
  """

  def run(
    state: TrainState,
    batch: dict[str, jax.Array],
    axis_name: str | None = None,
  ) -> TrainState:
    lr_only = batch.get("lr_only")
    if state.teacher is None or (weight == 0 and lr_only is None):
      return step(state, batch, axis_name=axis_name)
    teacher = state.teacher

    def apply(lr: jax.Array) -> jax.Array:
      return teacher.apply_fn({"params": teacher.params}, lr)

    taught = _outputs(apply, batch["lr"], ensemble, parts)
    weights = jnp.full(len(taught), weight, jnp.float32)
    batch = {name: batch[name] for name in ("lr", "hr")}
    if lr_only is not None:
      levels = jnp.floor(jnp.clip(taught, 0, 1) * 255 + 0.5)
      batch["hr"] = jnp.where(
        lr_only[:, None, None, None], levels.astype(jnp.uint8), batch["hr"]
      )
      weights = jnp.where(lr_only, 1.0, weights)
    batch |= {"taught": taught, "taught_weight": weights}
    return step(state, batch, axis_name=axis_name)

  return run


def _outputs(
  apply: Callable[[jax.Array], jax.Array],
  lr: jax.Array,
  ensemble: bool,
  parts: int,
) -> jax.Array:
  """The teacher's outputs for LR, N×p×p×3 uint8, as float32 around [0, 1]."""

  def one(lr: jax.Array) -> jax.Array:
    lr = lr.astype(jnp.float32) / 255
    return _averaged(apply, lr) if ensemble else apply(lr)

  if parts == 1:
    return one(lr)
  found = lax.map(one, lr.reshape(parts, -1, *lr.shape[1:]))
  return found.reshape(-1, *found.shape[2:])


def _averaged(
  apply: Callable[[jax.Array], jax.Array], lr: jax.Array
) -> jax.Array:
  """The average over the eight symmetries of square images, in one pass."""

  def turned(x: jax.Array, flip: bool, quarters: int) -> jax.Array:
    x = x[:, :, ::-1] if flip else x
    return jnp.rot90(x, quarters, axes=(1, 2))

  def back(x: jax.Array, flip: bool, quarters: int) -> jax.Array:
    x = jnp.rot90(x, -quarters, axes=(1, 2))
    return x[:, :, ::-1] if flip else x

  symmetries: list[tuple[Any, ...]] = [
    (flip, quarters) for flip in (False, True) for quarters in range(4)
  ]
  every = apply(jnp.concatenate([turned(lr, *s) for s in symmetries]))
  outputs = jnp.split(every, len(symmetries))
  total = sum(back(x, *s) for x, s in zip(outputs, symmetries, strict=True))
  return jnp.asarray(total) / len(symmetries)
