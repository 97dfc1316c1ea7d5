"""Loads weights from a file or a mapping into the network they belong to."""

from collections.abc import Mapping
import os
from typing import Any

from flax import linen as nn

from bamjax import pretrained
from bamjax.errors import UserError
from bamjax.weights import pytorch
from bamjax.weights import reading
from bamjax.weights import store
from bamjax.weights.hints import Hints
from bamjax.weights.hints import NO_HINTS


def read_network(
  source: str | os.PathLike[str] | Mapping[str, Any], hints: Hints = NO_HINTS
) -> tuple[nn.Module, dict[str, Any]]:
  """Loads weights into the network that they belong to.

  Files written by `save_weights` describe their network. For published PyTorch
  weights, the backbone, the attention and all widths are inferred from the
  tensors' names and shapes. Supported are the releases of the BAM paper, of
  each backbone's authors, of BasicSR (EDSR, RCAN) and of super-image, with or
  without wrappers such as `module.`, `params`, `state_dict` or `generator` (a
  moving average, `params_ema`, is preferred to `params`). If the tensors leave
  a choice, a warning names what was chosen.

  Args:
    source: the name of shipped weights, "pan-bam-x2"; a file in the format of
      safetensors, NumPy (.npz) or PyTorch (which needs torch), whatever its
      extension; or a mapping of PyTorch's tensor names to arrays (conv weights
      O×I×k×k).
    hints: what the tensors may leave open. PAN's ×2 and ×3 have the same
      shapes, and CARN has branches for ×2, ×3 and ×4: without a hint, the scale
      is taken from the file's name, "pan_x3.pth"; if that has none, CARN is
      loaded as ×2. The normalization can't be inferred: without a hint, it is
      "official" if the network has its own paper's attention, else "paper".
      "super_image" is for weights of super-image, whose RCAN and AWSRN have
      input conventions of their own. The official EDSR with 256 features has
      res_scale 0.1.

  Returns:
    The module, which maps RGB in [0, 1], N×H×W×3, to float32 RGB around [0, 1],
    N×sH×sW×3; and its variables, {"params": …} of float32 arrays.

  Raises:
    UserError: the file can't be read; no supported network has these tensors;
      some are missing, unexpected or of the wrong shape (the message lists all
      of them); they contain NaN, infinity or integers; or they fit several
      networks.
  """
  if isinstance(source, Mapping):
    return pytorch.from_tensors(reading.unwrap(source), hints)
  path = pretrained.find(source)
  if store.is_own(path):
    return store.load(path, hints)
  content = reading.read(path)
  name = os.fspath(source)
  try:
    return pytorch.from_tensors(reading.unwrap(content, name), hints, name)
  except pytorch.AmbiguousScale as error:
    raise pytorch.AmbiguousScale(f"{name}: {error}", error.scales) from error
  except UserError as error:
    raise UserError(f"{name}: {error}") from error
