"""super-image (PyTorch) as a rival, for `bamjax benchmark --rival`.

Needs torch and `pip install --no-deps super-image`. Only super-image's networks
are imported; its dependencies for data sets and downloads (torchvision, h5py,
huggingface_hub) are not needed.
"""

from collections.abc import Callable
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
  raise UserError(
    "--rival: PyTorch is not installed; run pip install torch"
  ) from error

from bamjax.benchmarking.imdn_torch import IMDN

# Imported by super-image, but not used by its networks.
_UNUSED = (
  "h5py",
  "huggingface_hub",
  "torchvision",
  "torchvision.transforms",
)
# Packages of super-image whose __init__ would import all of it.
_BARE = ("super_image", "super_image.models", "super_image.data")


def _capture(network: Any) -> Any:
  """Records a network's kernels at its first call, and replays them."""
  graph = torch.cuda.CUDAGraph()
  held: list[torch.Tensor] = []

  def run(x: torch.Tensor) -> torch.Tensor:
    if not held:
      held.append(x.clone())
      stream = torch.cuda.Stream()
      stream.wait_stream(torch.cuda.current_stream())
      # As PyTorch asks: algorithms are chosen before the recording.
      with torch.cuda.stream(stream):
        for _ in range(3):
          network(held[0])
      torch.cuda.current_stream().wait_stream(stream)
      with torch.cuda.graph(graph):
        held.append(network(held[0]))
    held[0].copy_(x)
    graph.replay()
    return held[1]

  return run


# What is done to a network, by the first word of a form's name.
_WAYS: dict[str, Callable[[Any], Any]] = {
  "eager": lambda function: function,
  "compiled": functools.partial(torch.compile, dynamic=False),
  "graphed": functools.partial(
    torch.compile, dynamic=False, mode="reduce-overhead"
  ),
  "captured": _capture,
}
# super-image's names of our backbones.
_NAMES = {
  "carn": "carn",
  "pan": "pan",
  "edsr_baseline": "edsr",
  "msrn": "msrn",
  "awsrn": "awsrn",
  "rcan": "rcan",
  "drln": "drln",
}
# "graphed" is compiled and replayed as a CUDA graph, "captured" only replayed.
_GRAPHS = ("graphed", "captured")
# How a form computes in a plan in bfloat16: in it throughout, by PyTorch's
# autocast, or in float32 after all.
_NUMBERS = ("", "autocast", "float32")
FORMS = tuple(
  f"{way} {layout} {numbers}".rstrip()
  for numbers in _NUMBERS
  for layout in ("NCHW", "channels-last")
  for way in _WAYS
)


@functools.cache
def _prepare() -> None:
  """Replaces super-image's packages by ones that import nothing."""
  spec = importlib.util.find_spec("super_image")
  if spec is None or spec.submodule_search_locations is None:
    raise UserError(
      "--rival=super-image: it is not installed; run"
      " pip install --no-deps super-image"
    )
  for package in _BARE:
    folder = package.replace("super_image", "").replace(".", "/")
    sys.modules[package] = bare = ModuleType(package)
    bare.__path__ = [spec.submodule_search_locations[0] + folder]


def _module(name: str) -> ModuleType:
  """Imports a module of super-image without the rest of the package."""
  _prepare()
  unused = {key: mock.MagicMock() for key in _UNUSED if key not in sys.modules}
  sys.modules.update(unused)
  try:
    return importlib.import_module(f"super_image.{name}")
  finally:
    # super-image's own modules stay: torch.compile looks them up by name.
    for key in unused:
      del sys.modules[key]


def _super_image(kind: str, **options: Any) -> Any:
  """Makes a network of super-image, which has no types."""
  module = _module(f"models.{kind}.modeling_{kind}")
  network = getattr(module, f"{kind.title()}Model")
  return network(network.config_class(**options))


def _bam(channels: int) -> nn.Module:
  return _module("modeling_utils").BamBlock(channels)


class _EDSRWithBAM(nn.Module):
  """super-image's EDSR with its BAM at the place of the paper."""

  def __init__(self, edsr: Any):
    super().__init__()
    self.head: nn.Module = edsr.head
    self.body: nn.Module = edsr.body
    self.tail: nn.Module = edsr.tail
    self.attention = _bam(64)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = self.head(x)
    return self.tail(self.attention(self.body(x)) + x)


def _network(model: str, attn: str, scale: int) -> nn.Module | None:
  """Makes the rival's network for inputs in [0, 1]; None if it has none."""
  bam = attn == "bam"
  if attn not in (create_model(model).attention.kind, "bam"):
    return None
  if model == "imdn":
    return IMDN(scale, _bam if bam else None)
  if model == "edsr_baseline":
    edsr = _super_image("edsr", scale=scale)
    return _EDSRWithBAM(edsr) if bam else edsr
  if model not in _NAMES:
    return None
  network = _super_image(_NAMES[model], scale=scale, bam=bam)
  if model == "rcan":
    # They shift inputs in [0, 255]; ours are in [0, 1].
    network.sub_mean = network.add_mean = nn.Identity()
  if model == "awsrn" and not bam:
    # As with BAM, whose forward pass does not subtract the mean.
    network.bam, network.attention = True, nn.Identity()
  return network


def _export(
  network: nn.Module,
  model: str,
  attn: str,
  variables: Any,
  values: dict[str, Any],
) -> None:
  """Copies our weights into a PyTorch network.

  Args:
    network: the rival's network.
    model: name of our backbone.
    attn: kind of its attention.
    variables: our weights.
    values: hyper-parameters that occur in names of tensors.
  """
  ours = traverse_util.flatten_dict(variables["params"], sep="/")
  state = dict(network.state_dict())
  for naming in NAMINGS:
    # edsr_baseline is a narrower EDSR with the same names.
    same = naming.model == model.removesuffix("_baseline")
    table = naming.table(attn) if same else ()
    names = {}
    for path in ours:
      weight_norm = f"{path.rpartition('/')[0]}/gain" in ours
      name = torch_name(path, table, values, weight_norm)
      if name in state:
        names[path] = name
    if len(names) == len(ours):
      break
  else:
    raise UserError(f"the rival's {model} {attn} differs from ours in layers")
  for path, name in names.items():
    array = np.asarray(ours[path])
    if path.endswith("/kernel"):
      array = array.transpose(3, 2, 0, 1)
    tensor = torch.from_numpy(array.copy())
    state[name] = tensor.reshape(state[name].shape)
  # super-image's own load_state_dict ignores errors.
  nn.Module.load_state_dict(network, state)


class SuperImage:
  """super-image, for `bamjax.benchmarking.run`."""

  name = "super-image"

  def __init__(
    self,
    forms: Sequence[str] | None = None,
    train: bool = False,
    dtype: str = "float32",
  ):
    """Makes a rival.

    Args:
      forms: which of `FORMS` to time; None: all that the device supports.
      train: whether training steps are to be timed.
      dtype: name of the dtype in which ours compute.

    Raises:
      UserError: a form cannot run here, or cannot be trained.
    """
    self._gpu = jax.default_backend() == "gpu"
    if self._gpu and not torch.cuda.is_available():
      raise UserError(
        "--rival: JAX uses a GPU but PyTorch cannot; install PyTorch with CUDA"
      )
    frozen = [form for form in forms or () if form.startswith("captured")]
    if train and frozen:
      raise UserError(
        f"--rival_forms: {frozen[0]} cannot be trained, because the graph holds"
        " no gradients; choose graphed, compiled or eager"
      )
    half = dtype == "bfloat16"
    others = [form for form in forms or () if form.endswith(_NUMBERS[1:])]
    if others and not half:
      raise UserError(f"--rival_forms: {others[0]} needs --dtype=bfloat16")
    graphs = tuple(form for form in forms or () if form.startswith(_GRAPHS))
    if graphs and not self._gpu:
      raise UserError(f"--rival_forms: {graphs[0]} needs a GPU (CUDA graphs)")
    self._forms = forms or [
      form
      for form in FORMS
      if (self._gpu or not form.startswith(_GRAPHS))
      and not (train and form.startswith("captured"))
      and (half or not form.endswith(_NUMBERS[1:]))
      # The same as a training step in bfloat16.
      and not (train and form.endswith("autocast"))
    ]
    self._device = torch.device("cuda" if self._gpu else "cpu")
    tf32 = machine.precision() == "tensorfloat32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    # One program per shape, as in JAX.
    torch._dynamo.config.cache_size_limit = 1000
    logging.getLogger("torch").setLevel(logging.ERROR)

  def environment(self) -> dict[str, Any]:
    """Returns its versions and settings."""
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
    """Returns functions that run a network with our weights, by form.

    Args:
      plan: dtype, batch size, and whether to train.
      model: name of our backbone.
      attn: kind of its attention.
      scale: upscaling factor.
      size: side of the square frames, in LR pixels.
      variables: our weights.
    """
    module = create_model(model, attn, scale)
    fields = {field.name for field in dataclasses.fields(module)}
    values: dict[str, Any] = {
      f: getattr(module, f) for f in ("blocks", "groups") if f in fields
    }
    forms = {}
    for name in self._forms:
      # Any: torch's stubs do not know the argument memory_format.
      network: Any = _network(model, attn, scale)
      if network is None:
        return {}
      way, layout, *numbers = name.split()
      last = layout == "channels-last"
      dtype = "float32" if numbers == ["float32"] else plan.dtype
      memory_format = torch.channels_last if last else torch.contiguous_format
      _export(network, model, attn, variables, values)
      network = network.to(self._device, memory_format=memory_format)
      make = self._training if plan.train else self._inference
      # A training step has float32 weights: bfloat16 is autocast's.
      autocast = dtype == "bfloat16" and (bool(numbers) or plan.train)
      if dtype == "bfloat16" and not autocast:
        network = network.to(torch.bfloat16)
      forms[name] = make(
        plan, network, scale, size, memory_format, _WAYS[way], autocast
      )
    return forms

  def _tensor(
    self, image: np.ndarray, memory_format: torch.memory_format
  ) -> torch.Tensor:
    """Converts N×H×W×3 uint8 to N×3×H×W in [0, 1]."""
    tensor = torch.from_numpy(compiled.as_float(image)).permute(0, 3, 1, 2)
    return tensor.to(self._device).contiguous(memory_format=memory_format)

  def _await(self) -> None:
    if self._gpu:
      torch.cuda.synchronize()

  def _inference(
    self,
    plan: Plan,
    network: Any,
    scale: int,
    size: int,
    memory_format: torch.memory_format,
    way: Callable[[Any], Any],
    autocast: bool,
  ) -> Run:
    del scale
    network.eval()
    dtype = next(network.parameters()).dtype
    pool = [
      self._tensor(x, memory_format).to(dtype)
      for x in compiled.frames(plan, size)
    ]
    network = way(network)

    def run(i: int) -> "_Image":
      with torch.inference_mode(), self._autocast(autocast):
        sr = network(pool[i % compiled.POOL])
      self._await()
      return _Image(sr)

    return run

  def _autocast(self, enabled: bool) -> Any:
    return torch.autocast(self._device.type, torch.bfloat16, enabled=enabled)

  def _training(
    self,
    plan: Plan,
    network: Any,
    scale: int,
    size: int,
    memory_format: torch.memory_format,
    way: Callable[[Any], Any],
    autocast: bool,
  ) -> Run:
    network.train()
    hr = self._tensor(compiled.targets(plan, size, scale), memory_format)
    pool = [self._tensor(x, memory_format) for x in compiled.frames(plan, size)]
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, fused=True)

    def loss_of(lr: torch.Tensor) -> torch.Tensor:
      with self._autocast(autocast):
        sr = network(lr)
      return nn.functional.l1_loss(sr.float(), hr)

    compute_loss = way(loss_of)

    def run(i: int) -> float:
      optimizer.zero_grad(set_to_none=True)
      loss = compute_loss(pool[i % compiled.POOL])
      loss.backward()
      optimizer.step()
      self._await()
      return loss.item()

    return run


class _Image:
  """Converts N×3×H×W to N×H×W×3 when NumPy asks, which is not timed."""

  def __init__(self, tensor: torch.Tensor):
    self._tensor = tensor

  def __array__(
    self, dtype: Any = None, copy: bool | None = None
  ) -> np.ndarray:
    array = self._tensor.float().permute(0, 2, 3, 1).cpu().numpy()
    return array.astype(dtype or array.dtype)


def make_rival(
  forms: Sequence[str] | None, train: bool = False, dtype: str = "float32"
) -> SuperImage:
  """Makes the rival for some of its `FORMS`.

  Args:
    forms: names of forms, or their first words, which stand for both layouts in
      the plan's dtype; None: all that the device supports.
    train: whether training steps are to be timed.
    dtype: name of the dtype in which ours compute.

  Raises:
    UserError: a form is unknown, or cannot run here, or cannot be trained.
  """
  chosen = []
  for given in forms or ():
    short = [f"{given} NCHW", f"{given} channels-last"]
    found = [form for form in FORMS if form in (given, *short)]
    if not found:
      raise UserError(
        f"--rival_forms: unknown form {given!r}; choose from {', '.join(FORMS)}"
      )
    chosen += found
  return SuperImage(list(dict.fromkeys(chosen)) or None, train, dtype)
