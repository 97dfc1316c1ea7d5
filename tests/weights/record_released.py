"""Records outputs of BSRN's and SMFANet's own code, for `recorded_test.py`.

It draws their weights by the goldens' rule, and writes `released.npz`, in the
format of `goldens.npz`. The arguments are clones of github.com/xiaom233/BSRN
and github.com/Zheng-MJ/SMFANet:

    python tests/weights/record_released.py BSRN SMFANet

BSRN's number of blocks is fixed. Sides of the images that are no multiples of 8
make SMFANet's cells overlap.
"""

import importlib
import sys

import torch

import goldens
import record

FILE = goldens.FILE.with_name("released.npz")


def architecture(folder, name):
  """A module of the architectures in a clone."""
  for loaded in [n for n in sys.modules if n.partition(".")[0] == "basicsr"]:
    del sys.modules[loaded]
  record.prepare("basicsr", folder)
  return importlib.import_module(f"basicsr.archs.{name}_arch")


def cases(folder_of_bsrn, folder_of_smfanet):
  """Yields a network and its description for each case."""
  made = architecture(folder_of_bsrn, "BSRN").BSRN
  for scale in (2, 3, 4):
    network = made(num_feat=32, upscale=scale)
    settings = {"num_feat": 32}
    yield (
      network,
      dict(model="bsrn", attn="esa_cca", scale=scale, settings=settings),
    )
  made = architecture(folder_of_smfanet, "SMFANet").SMFANet
  for scale in (2, 3, 4):
    settings = {"dim": 16, "n_blocks": 3}
    network = made(upscaling_factor=scale, **settings)
    yield (
      network,
      dict(model="smfanet", attn="none", scale=scale, settings=settings),
    )


@torch.no_grad()
def main(*folders):
  """Records all cases."""
  described, state_dicts, outputs = {}, {}, []
  for seed, (network, case) in enumerate(cases(*folders), start=1):
    key = f"{case['model']}-{case['attn']}-x{case['scale']}"
    state_dicts[key] = record.draw(network, case["model"], seed)
    height, width = {2: (24, 32), 3: (30, 37), 4: (21, 43)}[case["scale"]]
    x = goldens.image(seed, height, width)
    y = network.eval()(torch.from_numpy(x).permute(0, 3, 1, 2))
    y = y.permute(0, 2, 3, 1).contiguous().numpy()
    described[key] = dict(
      case,
      variant="official",
      seed=seed,
      input_seed=seed,
      input_shape=x.shape,
      state_dict=key,
    )
    outputs.append(goldens.sample(y))
    print(f"{key}: mean {y.mean():.4g}, standard deviation {y.std():.4g}")
  goldens.write(FILE, dict(cases=described, state_dicts=state_dicts), outputs)


if __name__ == "__main__":
  main(*sys.argv[1:])
