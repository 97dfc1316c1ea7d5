"""What a speed benchmark times."""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools

import jax
import jax.numpy as jnp

from bamjax.errors import UserError
from bamjax.models import registry

DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class Plan:
  """What to time: all combinations of models, attentions, scales and sizes.

  Attributes:
    models: names of backbones.
    attns: kinds of attention; "native" is the paper's control group.
    scales: upscaling factors.
    sizes: sides of the square inputs, in LR pixels.
    frames: frames, or training steps, to count per network.
    rounds: number of turns that the frames are split into.
    dtype: name of the dtype of the computation.
    batch_size: images per frame or training step.
    train: whether to time training steps (L1 loss, Adam) instead of inference.
  """

  models: Sequence[str]
  attns: Sequence[str] = ("native", "bam")
  scales: Sequence[int] = (2,)
  sizes: Sequence[int] = (60, 120)
  frames: int = 20
  rounds: int = 5
  dtype: str = "float32"
  batch_size: int = 1
  train: bool = False

  def check(self) -> None:
    """Raises UserError if the plan has an unknown or invalid value."""
    if self.dtype not in DTYPES:
      raise UserError(
        f"unknown dtype {self.dtype!r}; choose from {', '.join(DTYPES)}"
      )
    for name in ("models", "attns", "scales", "sizes"):
      if not getattr(self, name):
        raise UserError(f"no {name} to time")
    for name in ("frames", "rounds", "batch_size"):
      if getattr(self, name) < 1:
        raise UserError(f"{name} must be at least 1; got {getattr(self, name)}")
    for size in self.sizes:
      if size < 1:
        raise UserError(f"sizes must be at least 1; got {size}")
    for args in itertools.product(self.models, self.attns, self.scales):
      registry.create_model(*args)

  def groups(self) -> Iterator[tuple[str, int, int]]:
    """Yields model, scale and size of what is compared; repeats count once."""
    return itertools.product(
      dict.fromkeys(self.models),
      dict.fromkeys(self.scales),
      dict.fromkeys(self.sizes),
    )


def default_plan(backend: str | None = None, train: bool = False) -> Plan:
  """Returns the paper's figure 6; on a CPU, a small part of it.

  Training steps follow the paper's recipe: batches of 16 LR patches of 64×64.

  Args:
    backend: JAX's name of the platform; None: the default platform.
    train: whether to return the plan for training steps.
  """
  cpu = (backend or jax.default_backend()) == "cpu"
  if train:
    models = ("imdn", "pan") if cpu else ("imdn", "drln")
    return Plan(
      models, sizes=(64,), frames=10 if cpu else 50, batch_size=16, train=True
    )
  if cpu:
    return Plan(("imdn", "pan"))
  return Plan(
    ("imdn", "drln"),
    scales=(2, 3, 4),
    sizes=tuple(range(60, 241, 20)),
    frames=700,
    rounds=7,
  )
