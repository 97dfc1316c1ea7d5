"""super-image (PyTorch) beside our networks, for `benchmark.py --rival`.

It needs `pip install --no-deps super-image` and torch. Only super-image's
networks are imported: what it imports for data sets and downloads (torchvision,
h5py, huggingface_hub) need not be there.
"""

from collections.abc import Sequence
import dataclasses
import functools
import importlib
import importlib.util
import logging
import sys
from types import ModuleType
from typing import Any
from unittest import mock

from flax import traverse_util
import jax
import numpy as np

from bamjax.benchmarking import compiled
from bamjax.benchmarking import machine
from bamjax.benchmarking import Plan
from bamjax.benchmarking.timing import Run
from bamjax.errors import UserError
from bamjax.models import create_model
from bamjax.weights.names import NAMINGS
from bamjax.weights.names import torch_name

try:
  import torch
  from torch import nn
except ImportError as error:
  raise UserError("--rival needs PyTorch: pip install torch") from error

from bamjax.benchmarking.imdn_torch import IMDN

# Imported by super-image, but not for its networks.
_UNUSED = (
  "h5py",
  "huggingface_hub",
  "torchvision",
  "torchvision.transforms",
)
# Packages of it whose __init__ would import all that it has.
_BARE = ("super_image", "super_image.models", "super_image.data")
# What is done with a network's function, by the first word of a form.
_WAYS = {
  "eager": lambda function: function,
  "compiled": functools.partial(torch.compile, dynamic=False),
  "graphed": functools.partial(
    torch.compile, dynamic=False, mode="reduce-overhead"
  ),
}
_KINDS = {
  "carn": "carn",
  "pan": "pan",
  "edsr_baseline": "edsr",
  "msrn": "msrn",
  "awsrn": "awsrn",
  "rcan": "rcan",
  "drln": "drln",
}
# Graphed is compiled, and replayed as a CUDA graph.
FORMS = tuple(
  f"{way} {layout}"
  for layout in ("NCHW", "channels-last")
  for way in ("eager", "compiled", "graphed")
)


@functools.cache
def _prepare() -> None:
  """Puts bare packages in the place of super-image's own."""
  spec = importlib.util.find_spec("super_image")
  if spec is None:
    raise UserError(
      "--rival=super-image needs it: pip install --no-deps super-image"
    )
  for package in _BARE:
    folder = package.replace("super_image", "").replace(".", "/")
    sys.modules[package] = bare = ModuleType(package)
    bare.__path__ = [spec.submodule_search_locations[0] + folder]


def _module(name: str) -> ModuleType:
  """A module of super-image, without the rest of the package."""
  _prepare()
  unused = {key: mock.MagicMock() for key in _UNUSED if key not in sys.modules}
  sys.modules.update(unused)
  try:
    return importlib.import_module(f"super_image.{name}")
  finally:
    # torch.compile looks modules up by name, so super-image's own stay.
    for key in unused:
      del sys.modules[key]


def _super_image(kind: str, **options) -> nn.Module:
  """A network of super-image."""
  module = _module(f"models.{kind}.modeling_{kind}")
  network = getattr(module, f"{kind.title()}Model")
  return network(network.config_class(**options))


def _bam(channels: int) -> nn.Module:
  return _module("modeling_utils").BamBlock(channels)


class _EDSRWithBAM(nn.Module):
  """super-image's EDSR with its BAM, where the paper puts it."""

  def __init__(self, edsr: nn.Module):
    super().__init__()
    self.head, self.body, self.tail = edsr.head, edsr.body, edsr.tail
    self.attention = _bam(64)

  def forward(self, x):
    x = self.head(x)
    return self.tail(self.attention(self.body(x)) + x)


def _network(model: str, attn: str, scale: int) -> nn.Module | None:
  """The rival's form of a network, fed [0, 1]; None where it has none."""
  bam = attn == "bam"
  if attn not in (create_model(model).attention.kind, "bam"):
    return None
  if model == "imdn":
    return IMDN(scale, _bam if bam else None)
  if model == "edsr_baseline":
    edsr = _super_image("edsr", scale=scale)
    return _EDSRWithBAM(edsr) if bam else edsr
  if model not in _KINDS:
    return None
  network = _super_image(_KINDS[model], scale=scale, bam=bam)
  if model == "rcan":
    # Made for [0, 255], where ours is fed [0, 1].
    network.sub_mean = network.add_mean = nn.Identity()
  if model == "awsrn" and not bam:
    # As with BAM, whose forward pass leaves the mean as it is.
    network.bam, network.attention = True, nn.Identity()
  return network


def _export(
  network: nn.Module, model: str, attn: str, variables: Any, values: dict
) -> None:
  """Copies our weights into a network of PyTorch."""
  ours = traverse_util.flatten_dict(variables["params"], sep="/")
  state = dict(network.state_dict())
  for naming in NAMINGS:
    # The baseline is a narrower EDSR.
    same = naming.model == model.removesuffix("_baseline")
    table = naming.table(attn) if same else ()
    names = {
      path: torch_name(
        path, table, values, f"{path.rpartition('/')[0]}/gain" in ours
      )
      for path in ours
    }
    if all(name in state for name in names.values()):
      break
  else:
    raise UserError(f"the rival's {model} {attn} has other layers than ours")
  for path, name in names.items():
    array = np.asarray(ours[path])
    if path.endswith("/kernel"):
      array = array.transpose(3, 2, 0, 1)
    tensor = torch.from_numpy(array.copy())
    state[name] = tensor.reshape(state[name].shape)
  # super-image's own load_state_dict takes what it likes.
  nn.Module.load_state_dict(network, state)


class SuperImage:
  """The rival of `bamjax.benchmarking.run`."""

  name = "super-image"

  def __init__(self, forms: Sequence[str] | None = None):
    """Takes the forms to time, of `FORMS`; None is all that the device has."""
    self._gpu = jax.default_backend() == "gpu"
    if self._gpu and not torch.cuda.is_available():
      raise UserError("--rival on a GPU needs PyTorch with CUDA")
    if not self._gpu and any(x.startswith("graphed") for x in forms or ()):
      raise UserError("the rival's graphed forms are CUDA graphs: need a GPU")
    self._forms = forms or [
      form for form in FORMS if self._gpu or not form.startswith("graphed")
    ]
    self._device = torch.device("cuda" if self._gpu else "cpu")
    tf32 = machine.precision() == "tensorfloat32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    # A program for each shape, as ours.
    torch._dynamo.config.cache_size_limit = 1000
    logging.getLogger("torch").setLevel(logging.ERROR)

  def environment(self) -> dict[str, Any]:
    """Its versions and settings."""
    from importlib import metadata

    return {
      "super-image": metadata.version("super-image"),
      "torch": torch.__version__,
      "threads": torch.get_num_threads(),
    }

  def forms(
    self,
    plan: Plan,
    model: str,
    attn: str,
    scale: int,
    size: int,
    variables: Any,
  ) -> dict[str, Run]:
    """Eager and compiled, in either layout, with our weights."""
    if _network(model, attn, scale) is None:
      return {}
    module = create_model(model, attn, scale)
    fields = {field.name for field in dataclasses.fields(module)}
    values = {
      f: getattr(module, f) for f in ("blocks", "groups") if f in fields
    }
    forms = {}
    for name in self._forms:
      way, _, layout = name.partition(" ")
      last = layout == "channels-last"
      layout = torch.channels_last if last else torch.contiguous_format
      network = _network(model, attn, scale)
      _export(network, model, attn, variables, values)
      network = network.to(self._device, memory_format=layout)
      make = self._training if plan.train else self._inference
      forms[name] = make(plan, network, scale, size, layout, _WAYS[way])
    return forms

  def _tensor(self, image: np.ndarray, memory_format) -> torch.Tensor:
    """N×H×W×3 uint8 to N×3×H×W in [0, 1]."""
    tensor = torch.from_numpy(compiled.as_float(image)).permute(0, 3, 1, 2)
    return tensor.to(self._device).contiguous(memory_format=memory_format)

  def _await(self):
    if self._gpu:
      torch.cuda.synchronize()

  def _inference(self, plan, network, scale, size, memory_format, way):
    del scale
    half = plan.dtype == "bfloat16"
    network.eval()
    pool = [self._tensor(x, memory_format) for x in compiled.frames(plan, size)]
    if half:
      network = network.to(torch.bfloat16)
      pool = [x.to(torch.bfloat16) for x in pool]
    network = way(network)

    def run(i):
      with torch.inference_mode():
        sr = network(pool[i % compiled.POOL])
      self._await()
      return _Image(sr)

    return run

  def _training(self, plan, network, scale, size, memory_format, way):
    network.train()
    hr = self._tensor(compiled.targets(plan, size, scale), memory_format)
    pool = [self._tensor(x, memory_format) for x in compiled.frames(plan, size)]
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, fused=True)
    half = plan.dtype == "bfloat16"

    def loss_of(lr):
      with torch.autocast(self._device.type, torch.bfloat16, enabled=half):
        sr = network(lr)
      return nn.functional.l1_loss(sr.float(), hr)

    loss_of = way(loss_of)

    def run(i):
      optimizer.zero_grad(set_to_none=True)
      loss = loss_of(pool[i % compiled.POOL])
      loss.backward()
      optimizer.step()
      self._await()
      return loss.item()

    return run


class _Image:
  """N×3×H×W as N×H×W×3 where NumPy asks for it: outside of what is timed."""

  def __init__(self, tensor: torch.Tensor):
    self._tensor = tensor

  def __array__(self, dtype=None, copy=None):
    array = self._tensor.float().permute(0, 2, 3, 1).cpu().numpy()
    return array.astype(dtype or array.dtype)


def make_rival(forms: Sequence[str] | None) -> SuperImage:
  """The rival in some of its `FORMS`; None is all that the device has.

  "eager" alone stands for both layouts, and so do the other ways.

  Raises:
    UserError: a form is unknown.
  """
  chosen = []
  for given in forms or ():
    found = [form for form in FORMS if given in (form, form.partition(" ")[0])]
    if not found:
      raise UserError(
        f"unknown form of the rival {given!r}; choose from {', '.join(FORMS)}"
      )
    chosen += found
  return SuperImage(list(dict.fromkeys(chosen)) or None)
