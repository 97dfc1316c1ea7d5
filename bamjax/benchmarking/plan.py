"""What a benchmark times."""

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
  """What is timed: all combinations of the first four.

  Attributes:
    models: names of backbones.
    attns: attentions; "native" is the paper's control.
    scales: upscaling factors.
    sizes: sides of the square inputs, in LR pixels.
    frames: frames, or training steps, counted per configuration.
    rounds: turns that the frames are split into.
    dtype: dtype of the computation, by name.
    batch_size: images of a frame or a training step.
    train: time training steps (L1, Adam), not inference.
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
    """Raises UserError if any combination can't be timed."""
    if self.dtype not in DTYPES:
      raise UserError(
        f"unknown dtype {self.dtype!r}; choose from {', '.join(DTYPES)}"
      )
    for name in ("models", "attns", "scales", "sizes"):
      if not getattr(self, name):
        raise UserError(f"no {name} given")
    for name in ("frames", "rounds", "batch_size"):
      if getattr(self, name) < 1:
        raise UserError(f"{name} must be at least 1; got {getattr(self, name)}")
    for size in self.sizes:
      if size < 1:
        raise UserError(f"sizes must be at least 1; got {size}")
    for args in itertools.product(self.models, self.attns, self.scales):
      registry.create_model(*args)

  def groups(self) -> Iterator[tuple[str, int, int]]:
    """Model, scale and size of each comparison; what is named twice, once."""
    return itertools.product(
      *map(dict.fromkeys, (self.models, self.scales, self.sizes))
    )


def default_plan(backend: str | None = None, train: bool = False) -> Plan:
  """Figure 6 of the paper on an accelerator; a small part of it on a CPU.

  Training steps are those of the paper's recipe: batch 16, 64×64 LR patches.

  Args:
    backend: JAX's name of the platform; None takes the default one.
    train: the plan of training steps.
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
