"""Records outputs of other packages' networks, for `recorded_test.py`.

`load_weights` supports the tensor names of super-image and BasicSR. This script
builds their networks, most of them small, draws their weights by the goldens'
rule, and writes `recorded.npz`, in the format of `goldens.npz`:

    pip download --no-deps --no-build-isolation super-image==0.2.0
    pip download --no-deps --no-build-isolation basicsr==1.4.2
    unzip super_image-*.whl && tar -xzf basicsr-*.tar.gz
    python tests/weights/record.py . basicsr-1.4.2

The arguments are the folders that contain the two packages. Their networks need
only torch; the packages' other imports are mocked.
"""

import importlib
import sys
from types import ModuleType
from unittest import mock

import numpy as np
import torch

import goldens

FILE = goldens.FILE.with_name("recorded.npz")
HEIGHT, WIDTH = 12, 16

# Imported by the packages, but not needed here.
ABSENT = (
  "h5py",
  "torchvision",
  "torchvision.transforms",
  "huggingface_hub",
  "distutils",
  "distutils.version",
  "basicsr.ops",
  "basicsr.ops.dcn",
)
# Packages whose __init__ would import everything.
BARE = {
  "super_image": ("super_image", "super_image.models", "super_image.data"),
  "basicsr": ("basicsr", "basicsr.archs", "basicsr.utils"),
}


def prepare(package, folder):
  """Makes a package's modules importable without its __init__."""
  for name in ABSENT:
    sys.modules[name] = mock.MagicMock()
  for name in BARE[package]:
    sys.modules[name] = bare = ModuleType(name)
    bare.__path__ = [f"{folder}/{name.replace('.', '/')}"]
    bare.get_root_logger = None


def super_image(kind, **options):
  """A network of super-image."""
  module = importlib.import_module(f"super_image.models.{kind}.modeling_{kind}")
  network = getattr(module, f"{kind.title()}Model")
  return network(network.config_class(**options))


def basicsr(kind, scale, **options):
  """A network of BasicSR."""
  module = importlib.import_module(f"basicsr.archs.{kind}_arch")
  network = getattr(module, kind.upper())
  return network(num_in_ch=3, num_out_ch=3, upscale=scale, **options)


def cases():
  """Yields a key, a network and its description for each case."""

  def of_super_image(kind, scale, attn, suffix="", **options):
    bam = {} if kind == "edsr" else {"bam": attn == "bam"}
    network = super_image(kind, scale=scale, **bam, **options)
    described = dict(variant="super_image", settings={**options, **bam})
    model = "edsr_baseline" if suffix == "-baseline" else kind
    key = f"super_image-{kind}{suffix}-{attn}-x{scale}"
    return key, network, dict(model=model, attn=attn, scale=scale, **described)

  small = {
    "carn": {},
    "pan": dict(nf=20, unf=16, nb=2),
    "msrn": dict(n_blocks=2, n_feats=16),
    "awsrn": dict(n_resblocks=2, block_feats=64, n_feats=16, n_awru=3),
    "rcan": dict(n_resgroups=2, n_resblocks=3, n_feats=16, reduction=4),
    "edsr": dict(n_resblocks=3, n_feats=16),
    "drln": {},
  }
  native = {"pan": "pa", "rcan": "ca", "drln": "la"}
  for kind, options in small.items():
    attns = [native.get(kind, "none"), *(["bam"] if kind != "edsr" else [])]
    for attn in attns:
      for scale in (2, 3, 4):
        yield of_super_image(kind, scale, attn, **options)
  yield of_super_image("edsr", 4, "none", "-baseline")
  # As wide as EDSR's own release, but with its residuals unscaled.
  yield of_super_image("edsr", 2, "none", "-wide", n_resblocks=2, n_feats=256)

  def of_basicsr(kind, scale, suffix="", **options):
    network = basicsr(kind, scale, **options)
    attn = "ca" if kind == "rcan" else "none"
    described = dict(variant="official", settings=options)
    key = f"basicsr-{kind}{suffix}-{attn}-x{scale}"
    return key, network, dict(model=kind, attn=attn, scale=scale, **described)

  for scale in (2, 3, 4, 8):
    yield of_basicsr("edsr", scale, num_feat=16, num_block=3)
    yield of_basicsr(
      "rcan", scale, num_feat=16, num_group=2, num_block=3, squeeze_factor=4
    )
  wide = dict(num_feat=256, num_block=2, res_scale=0.1)
  yield of_basicsr("edsr", 2, "-wide", **wide)
  yield of_basicsr("rcan", 2, "-wide", num_group=1, num_block=2)


def draw(network, model, seed):
  """Draws a network's weights; its mean shift must equal the goldens'."""
  state = network.state_dict()
  for name, old in state.items():
    new = goldens.tensor(name, tuple(old.shape), model, seed)
    if name.startswith(("sub_mean", "add_mean")):
      np.testing.assert_allclose(old.numpy(), new, rtol=1e-6)
    old.copy_(torch.from_numpy(new))
  return [(name, list(tensor.shape)) for name, tensor in state.items()]


@torch.no_grad()
def main(folder_of_super_image, folder_of_basicsr):
  """Records all cases."""
  prepare("super_image", folder_of_super_image)
  prepare("basicsr", folder_of_basicsr)
  described, state_dicts, outputs = {}, {}, []
  for seed, (key, network, case) in enumerate(cases(), start=1):
    state_dicts[key] = draw(network, case["model"], seed)
    x = goldens.image(seed, HEIGHT, WIDTH)
    y = network.eval()(torch.from_numpy(x).permute(0, 3, 1, 2))
    y = y.permute(0, 2, 3, 1).contiguous().numpy()
    described[key] = dict(
      case, seed=seed, input_seed=seed, input_shape=x.shape, state_dict=key
    )
    outputs.append(goldens.sample(y))
    print(f"{key}: mean {y.mean():.4g}, standard deviation {y.std():.4g}")
  goldens.write(FILE, dict(cases=described, state_dicts=state_dicts), outputs)


if __name__ == "__main__":
  main(*sys.argv[1:])
