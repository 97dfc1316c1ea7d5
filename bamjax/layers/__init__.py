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
from bamjax.layers.normalization import Normalization
from bamjax.layers.pooling import Pool
from bamjax.layers.purpose import compile_for

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
  "compile_for",
  "pixel_shuffle",
]
