"""Attentions and convolutions, for use in any Flax Linen model."""

from bamjax.layers.attention import ACAM
from bamjax.layers.attention import Attention
from bamjax.layers.attention import ATTENTIONS
from bamjax.layers.attention import BAM
from bamjax.layers.attention import CA
from bamjax.layers.attention import CBAM
from bamjax.layers.attention import LA
from bamjax.layers.attention import MSAM
from bamjax.layers.attention import PA
from bamjax.layers.convolution import Conv
from bamjax.layers.convolution import pixel_shuffle
from bamjax.layers.convolution import Upsampler
from bamjax.layers.cpu.kernel_gradient import many_runs
from bamjax.layers.cpu.onednn import portable
from bamjax.layers.normalization import Normalization
from bamjax.layers.pooling import Pool

__all__ = [
  "ACAM",
  "ATTENTIONS",
  "Attention",
  "BAM",
  "CA",
  "CBAM",
  "LA",
  "MSAM",
  "PA",
  "Conv",
  "Normalization",
  "Pool",
  "Upsampler",
  "many_runs",
  "pixel_shuffle",
  "portable",
]
