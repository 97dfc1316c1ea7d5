"""IMDN in PyTorch (Hui et al., ACM MM 2019), which super-image lacks.

Follows the paper's figures 2 and 3. Tensor names are those of the authors'
release.
"""

from collections.abc import Callable

import torch
from torch import nn

MakeBAM = Callable[[int], nn.Module]


class CCA(nn.Module):
  """Contrast-aware channel attention (IMDN, section 3.3), for N×C×H×W."""

  def __init__(self, channels: int, reduction: int = 16):
    super().__init__()
    self.conv_du = nn.Sequential(
      nn.Conv2d(channels, channels // reduction, 1),
      nn.ReLU(inplace=True),
      nn.Conv2d(channels // reduction, channels, 1),
      nn.Sigmoid(),
    )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Multiplies the channels of x, N×C×H×W, with their weights."""
    mean = x.mean((2, 3), keepdim=True)
    deviation = ((x - mean) ** 2).mean((2, 3), keepdim=True).sqrt()
    return self.conv_du(mean + deviation) * x


class Block(nn.Module):
  """Information multi-distillation block (IMDN, figure 3), for N×C×H×W."""

  def __init__(self, features: int, distilled: int, bam: MakeBAM | None):
    super().__init__()
    rest = features - distilled
    self.split = [distilled, rest]
    self.c1 = nn.Conv2d(features, features, 3, padding=1)
    self.c2 = nn.Conv2d(rest, features, 3, padding=1)
    self.c3 = nn.Conv2d(rest, features, 3, padding=1)
    self.c4 = nn.Conv2d(rest, distilled, 3, padding=1)
    self.c5 = nn.Conv2d(features, features, 1)
    self.act = nn.LeakyReLU(0.05, inplace=True)
    if bam:
      self.attention = bam(4 * distilled)
    else:
      self.cca = CCA(4 * distilled)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps features N×C×H×W to features of the same shape."""
    a, rest = self.act(self.c1(x)).split(self.split, 1)
    b, rest = self.act(self.c2(rest)).split(self.split, 1)
    c, rest = self.act(self.c3(rest)).split(self.split, 1)
    kept = torch.cat([a, b, c, self.c4(rest)], 1)
    attention = self.attention if hasattr(self, "attention") else self.cca
    return self.c5(attention(kept)) + x


class IMDN(nn.Module):
  """Maps RGB, N×3×H×W in [0, 1], to N×3×sH×sW.

  Args:
    scale: upscaling factor s.
    bam: makes a BAM module for a number of channels; None: CCA is used.
    features: number of channels.
    distilled: number of channels that each step of a block splits off.
    blocks: number of blocks.
  """

  def __init__(
    self,
    scale: int,
    bam: MakeBAM | None = None,
    features: int = 64,
    distilled: int = 16,
    blocks: int = 6,
  ):
    super().__init__()
    self.fea_conv = nn.Conv2d(3, features, 3, padding=1)
    self.names = [f"IMDB{i + 1}" for i in range(blocks)]
    for name in self.names:
      self.add_module(name, Block(features, distilled, bam))
    self.c = nn.Sequential(
      nn.Conv2d(blocks * features, features, 1),
      nn.LeakyReLU(0.05, inplace=True),
    )
    self.LR_conv = nn.Conv2d(features, features, 3, padding=1)
    self.upsampler = nn.Sequential(
      nn.Conv2d(features, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale)
    )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Super-resolves RGB, N×3×H×W."""
    head = x = self.fea_conv(x)
    outputs = []
    for name in self.names:
      x = getattr(self, name)(x)
      outputs.append(x)
    x = self.LR_conv(self.c(torch.cat(outputs, 1))) + head
    return self.upsampler(x)
