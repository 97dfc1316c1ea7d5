"""Images on the device, and patches cut there: the host does nothing.

The samples are those of `bamjax.data.pipeline`, from the same plan.
"""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from bamjax.data.crops import CropStore
from bamjax.data.sampling import plan
from bamjax.errors import UserError
from bamjax.memory import device_memory
from bamjax.memory import host_memory

# Of a device's free memory, what images may take; training needs the rest.
_SHARE = 0.8


class Resident(NamedTuple):
  """All images side by side on two sheets, and where the crops lie there.

  A sheet's columns and channels share an axis, which suits every device's
  memory layout.

  Attributes:
    lr: H×3W uint8.
    hr: sH×3sW uint8; all stands there at s times its place on `lr`.
    places: (crops, 2) int32, top row and left column on `lr`.
    sizes: (crops, 2) int32, LR heights and widths.
  """

  lr: jax.Array | np.ndarray
  hr: jax.Array | np.ndarray
  places: jax.Array | np.ndarray
  sizes: jax.Array | np.ndarray

  @property
  def scale(self) -> int:
    """Upscaling factor."""
    return self.hr.shape[0] // self.lr.shape[0]


def _arrange(sizes: list[tuple[int, int]]) -> tuple[np.ndarray, int, int]:
  """Places rectangles on a sheet as wide as the widest, shelf by shelf.

  Returns:
    (n, 2) top rows and left columns, and the sheet's height and width.
  """
  width = max(w for _, w in sizes)
  places = np.zeros((len(sizes), 2), np.int32)
  top = shelf = left = 0
  # Tallest first, so that a shelf's images are about as high as it is.
  for i in sorted(range(len(sizes)), key=lambda i: sizes[i], reverse=True):
    height = sizes[i][0]
    if left + sizes[i][1] > width or not shelf:
      top, left, shelf = top + shelf, 0, height
    places[i] = top, left
    left += sizes[i][1]
  return places, top + shelf, width


def pack(store: CropStore) -> Resident:
  """Lays the images out in main memory, for `jax.device_put`.

  Raises:
    UserError: they do not fit on a device.
  """
  pairs = store.decoded.pairs
  origins, height, width = _arrange([lr.shape[:2] for lr, _ in pairs])
  _check_fits(3 * height * width * (1 + store.scale**2))
  sheets = []
  for which, factor in enumerate((1, store.scale)):
    sheet = np.zeros((factor * height, factor * width, 3), np.uint8)
    for pair, origin in zip(pairs, origins, strict=True):
      y, x = factor * origin
      h, w = pair[which].shape[:2]
      sheet[y : y + h, x : x + w] = pair[which]
    sheets.append(sheet.reshape(len(sheet), -1))
  places = origins[store.places[:, 0]] + store.places[:, 1:]
  return Resident(*sheets, places.astype(np.int32), store.sizes)


def _check_fits(needed: int) -> None:
  """Raises UserError unless each local device has that many bytes to spare."""
  device = jax.local_devices()[0]
  memory = device_memory()
  if memory is None:  # a CPU: main memory, which all of its devices share
    memory = host_memory()
    needed *= jax.local_device_count()
  free = memory.available
  if needed > _SHARE * free:
    raise UserError(
      f"the images take {needed / 1e9:.1f} GB, too much for a device"
      f" ({device.device_kind}) with {free / 1e9:.1f} GB free, of which"
      " training needs some; --data_mode=tfdata keeps them on the host"
    )


def sample_batch(
  data: Resident,
  seed: jax.Array | int,
  step: jax.Array,
  *,
  batch_size: int,
  patch: int,
  shard: tuple[jax.Array | int, int] = (0, 1),
) -> dict[str, jax.Array]:
  """Cuts and turns one batch; may be traced.

  Args:
    data: the images.
    seed: int32 scalar, of order, places and turns.
    step: int32 scalar, 0 for the first batch.
    batch_size: global batch.
    patch: side of the LR patches p.
    shard: (index, count) of the devices that share the global batch.

  Returns:
    `lr` n×p×p×3 and `hr` n×sp×sp×3, uint8, n = batch_size / count.
  """
  samples = plan(seed, step, data.sizes, batch_size=batch_size, patch=patch)
  index, count = shard
  rows = batch_size // count
  samples = jax.tree.map(
    lambda x: lax.dynamic_slice_in_dim(x, index * rows, rows), samples
  )
  corners = data.places[samples.crop] + jnp.stack([samples.y, samples.x], 1)

  def cut(sheet, factor):
    side = factor * patch

    def one(corner, flip_x, flip_y, turn):
      y, x = factor * corner[0], 3 * factor * corner[1]
      window = lax.dynamic_slice(sheet, (y, x), (side, 3 * side))
      window = window.reshape(side, side, 3)
      window = jnp.where(flip_x, window[:, ::-1], window)
      window = jnp.where(flip_y, window[::-1], window)
      return jnp.where(turn, jnp.rot90(window), window)

    return jax.vmap(one)(corners, samples.flip_x, samples.flip_y, samples.turn)

  return {"lr": cut(data.lr, 1), "hr": cut(data.hr, data.scale)}
