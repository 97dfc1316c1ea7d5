"""Loads networks with their variables from files of weights and from runs."""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any
from typing import TYPE_CHECKING

from flax import linen as nn
from flax import traverse_util
from jax.typing import DTypeLike

from bamjax import pretrained
from bamjax.errors import require
from bamjax.errors import RUN_PACKAGES
from bamjax.errors import UserError
from bamjax.inference.precision import with_dtype
from bamjax.models import create_model
from bamjax.models.registry import identify
from bamjax.weights import read_network
from bamjax.weights import reading
from bamjax.weights.hints import Hints
from bamjax.weights.hints import mismatch
from bamjax.weights.hints import NO_HINTS

if TYPE_CHECKING:
  from bamjax.runs.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Network:
  """A network that is ready to run.

  Attributes:
    source: the file or the folder that it was loaded from, as the caller named
      it.
    model: name of the backbone.
    attn: name of its attention, possibly "none".
    scale: upscaling factor.
    module: the Linen module.
    variables: its variables, {"params": …} of float32 arrays.
    step: step of the checkpoint; None for a file.
    config: recipe of the run; None for a file.
  """

  source: str
  model: str
  attn: str
  scale: int
  module: nn.Module
  variables: dict[str, Any]
  step: int | None = None
  config: "Recipe | None" = None

  @property
  def title(self) -> str:
    """A short name for tables, "imdn cca ×2", with the depth if unusual."""
    return f"{self.model} {self.attn} ×{self.scale}{self.depth}"

  @property
  def depth(self) -> str:
    """ ", 15 blocks" if the published network has another number; else "".

    It reveals files that lack the last blocks: they load as a network with
    fewer.
    """
    published = create_model(self.model)
    fields = {f.name for f in dataclasses.fields(self.module)}
    # CARN's `groups` are of its convs; DRLN's are numbers of blocks.
    names = {"blocks", "units"} if "units" in fields else {"groups", "blocks"}
    depth = ""
    for name in sorted(names & fields, reverse=True):
      count = getattr(self.module, name)
      if count == getattr(published, name):
        continue
      if isinstance(count, tuple):
        count, name = sum(count), "blocks"
      depth += f", {count} {name if count > 1 else name.removesuffix('s')}"
    return depth


def load_network(
  source: str | os.PathLike[str], hints: Hints = NO_HINTS
) -> Network:
  """Loads a network.

  Args:
    source: a file of weights, the name of shipped weights, or a run's folder.
    hints: what the caller knows about the network: what published weights leave
      open, and the step of a run. Whatever is known from the source must agree.

  Raises:
    UserError: the file or the folder can't be read, or contradicts the hints.
  """
  path = pretrained.find(source)
  if not path.exists():
    raise UserError(f"{path}: no such file or folder")
  if not path.is_dir():
    if hints.step is not None:
      raise UserError(
        f"{source} is a file, which has no checkpoint {hints.step}; omit --step"
      )
    module, variables = read_network(path, hints)
    return Network(
      os.fspath(source), *identify(module), module.scale, module, variables
    )
  # Only here: a file of weights does without the packages of runs.
  require("a run's folder", *RUN_PACKAGES, extra="train")
  from bamjax.runs import folder

  config, module, variables, step = folder.load(path, hints.step)
  if other := mismatch(module, hints):
    raise UserError(f"{path} is a run of {other}")
  try:
    reading.check_finite(
      traverse_util.flatten_dict(variables["params"], sep="/")
    )
  except UserError as error:
    raise UserError(f"{path}, step {step}: {error}") from None
  return Network(
    os.fspath(source),
    *identify(module),
    config.scale,
    module,
    variables,
    step,
    config,
  )


def load_weights(
  source: str | os.PathLike[str] | Mapping[str, Any],
  *,
  model: str | None = None,
  attn: str | None = None,
  scale: int | None = None,
  normalization: str | None = None,
  step: int | None = None,
  dtype: DTypeLike | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
  """Loads weights: shipped, published, or of one of your runs.

  Args:
    source: a run's folder; the name of shipped weights, "pan-bam-x2"; a file
      written by `save_weights` or published in safetensors, NumPy's (.npz) or
      PyTorch's format (which needs torch), whatever its extension; or a mapping
      of PyTorch's tensor names to arrays (conv weights O×I×k×k).
    model: a name from `list_models()`. It and the next three are needed only
      if they can't be inferred from the weights, and must agree with what can.
    attn: name of the attention; "native" is the backbone's own.
    scale: upscaling factor. PAN's ×2 and ×3 have the same shapes, and CARN
      holds branches of ×2, ×3 and ×4: without `scale`, it is taken from the
      file's name, "pan_x3.pth", and if that has none, CARN is loaded as ×2.
    normalization: the input convention, "paper", "official" or "super_image"
      (super-image's weights, whose RCAN and AWSRN have one of their own). It
      can't be inferred from published weights: by default it is "official" if
      the network has its own paper's attention, else "paper".
    step: checkpoint of a run; None is the best one by PSNR-Y.
    dtype: dtype of the computation, such as bfloat16; None is float32, or that
      of the run. Variables are float32 in any case.

  Returns:
    The module, which maps RGB in [0, 1], N×H×W×3, to float32 RGB around [0, 1],
    N×sH×sW×3; and its variables, {"params": …} of float32 arrays. For a run
    with a moving average of the weights, that average.

  Raises:
    UserError: the source can't be read, no supported network has its weights,
      or it contradicts the hints.
    ValueError: the dtype is not floating.
  """
  hints = Hints(model, attn, scale, normalization, step)
  if isinstance(source, Mapping):
    module, variables = read_network(source, hints)
  else:
    network = load_network(source, hints)
    module, variables = network.module, network.variables
  return (module if dtype is None else with_dtype(module, dtype)), variables
