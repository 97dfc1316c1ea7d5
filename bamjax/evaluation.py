"""Scores of a network on pictures, beside those of bicubic upscaling."""

from collections.abc import Callable
from collections.abc import Iterable

import numpy as np

from bamjax import metrics
from bamjax.data import resize

Pair = tuple[str, np.ndarray, np.ndarray]  # name, LR and HR as uint8 H×W×3


def load_pictures(pictures: Iterable) -> list[Pair]:
  """Reads pictures (`bamjax.data.sources.Picture`), LR and HR."""
  return [(p.name, *p.load()) for p in pictures]


def score(sr: np.ndarray, hr: np.ndarray, scale: int) -> dict[str, float]:
  """PSNR-Y and SSIM-Y of one picture under the `matlab` protocol.

  Args:
    sr: H×W×3 uint8.
    hr: H×W×3 uint8.
    scale: the border, in pixels, that is left out.
  """
  a, b = (x[None] / np.float32(255) for x in (sr, hr))
  found = metrics.scores(a, b, scale)
  return {name: float(values[0]) for name, values in found.items()}


def mean_scores(
  upscale: Callable[[np.ndarray], np.ndarray],
  pairs: Iterable[Pair],
  scale: int,
) -> dict[str, float]:
  """Mean PSNR-Y and SSIM-Y of `upscale` over pictures."""
  return _mean([score(upscale(lr), hr, scale) for _, lr, hr in pairs])


def evaluate(
  upscale: Callable[[np.ndarray], np.ndarray],
  pictures: Iterable,
  scale: int,
) -> dict:
  """Scores a network and bicubic upscaling on the same pictures.

  Args:
    upscale: maps uint8 H×W×3 to uint8 sH×sW×3.
    pictures: `bamjax.data.sources.Picture`s; one is in memory at a time.
    scale: upscaling factor.

  Returns:
    `psnr_y`, `ssim_y`, `bicubic_psnr_y`, `bicubic_ssim_y` (means), and
    `pictures`: a row each, with its `name`.
  """
  rows = []
  for picture in pictures:
    lr, hr = picture.load()
    bicubic = score(resize.upscale(lr, scale), hr, scale)
    rows.append(
      {
        "name": picture.name,
        **score(upscale(lr), hr, scale),
        **{f"bicubic_{name}": value for name, value in bicubic.items()},
      }
    )
  means = _mean([{k: v for k, v in r.items() if k != "name"} for r in rows])
  return {**means, "pictures": rows}


def table(result: dict, title: str) -> str:
  """A terminal table of what `evaluate` returns: bicubic, model, gain."""
  rows = [*result["pictures"], {"name": "mean", **result}]
  width = max(len(title), *(len(row["name"]) for row in rows))
  lines = [f"{title:{width}}  {'bicubic':>14}  {'model':>14}  {'gain':>8}"]
  lines.append("-" * len(lines[0]))
  for row in rows:
    lines.append(
      f"{row['name']:{width}}"
      f"  {row['bicubic_psnr_y']:6.2f}/{row['bicubic_ssim_y']:.4f} "
      f"  {row['psnr_y']:6.2f}/{row['ssim_y']:.4f} "
      f"  {row['psnr_y'] - row['bicubic_psnr_y']:+6.2f}dB"
    )
  return "\n".join(lines)


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
  return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
