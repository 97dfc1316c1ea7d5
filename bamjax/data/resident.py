"""Images kept on the device, where patches are cut without the host.

The samples are the same as those of `bamjax.data.pipeline`.
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from bamjax.data.crops import CropStore
from bamjax.data.sampling import Extras
from bamjax.data.sampling import LEVELS
from bamjax.data.sampling import NONE
from bamjax.data.sampling import plan
from bamjax.errors import UserError
from bamjax.memory import device_memory
from bamjax.memory import host_memory

# The share of a device's free memory for images; training needs the rest.
_SHARE = 0.8


class Resident(NamedTuple):
  """All images arranged on two sheets, and the places of the crops on them.

  Columns and channels of a sheet share an axis: no device's memory layout adds
  padding then.

  Attributes:
    lr: the LR sheet, H×3W uint8.
    hr: the HR sheet, sH×3sW uint8, arranged like `lr` at s times the size.
    places: (crops, 2) int32: each crop's top row and left column on `lr`.
    sizes: (crops, 2) int32: each crop's height and width in LR pixels.
    smaller: the HR sheet at half and quarter size; empty if all samples are
      pairs.
    own_places: (levels, crops, 2) int32: each crop's top row and left column on
      `hr` and `smaller`; None if all samples are pairs.
  """

  lr: jax.Array | np.ndarray
  hr: jax.Array | np.ndarray
  places: jax.Array | np.ndarray
  sizes: jax.Array | np.ndarray
  smaller: tuple[jax.Array | np.ndarray, ...] = ()
  own_places: jax.Array | np.ndarray | None = None

  @property
  def scale(self) -> int:
    """Upscaling factor."""
    return self.hr.shape[0] // self.lr.shape[0]


def _arrange(sizes: list[tuple[int, int]]) -> tuple[np.ndarray, int, int]:
  """Arranges rectangles in rows on a sheet as wide as the widest of them.

  Args:
    sizes: heights and widths of n rectangles.

  Returns:
    (n, 2) int32, their top rows and left columns; the sheet's height and width.
  """
  width = max(w for _, w in sizes)
  places = np.zeros((len(sizes), 2), np.int32)
  top = shelf = left = 0
  # Tallest first: rectangles in a row then have similar heights.
  for i in sorted(range(len(sizes)), key=lambda i: sizes[i], reverse=True):
    height = sizes[i][0]
    if left + sizes[i][1] > width or not shelf:
      top, left, shelf = top + shelf, 0, height
    places[i] = top, left
    left += sizes[i][1]
  return places, top + shelf, width


def pack(store: CropStore) -> Resident:
  """Arranges the images in main memory, ready for `jax.device_put`.

  Raises:
    UserError: they do not fit in a device's memory.
  """
  pairs = store.decoded.pairs
  origins, height, width = _arrange([(len(lr), lr.shape[1]) for lr, _ in pairs])
  scale = store.scale
  levels = range(1, LEVELS) if store.smaller else range(0)
  shape = np.array([height, width])
  shapes = [shape, scale * shape, *(-(-scale * shape >> n) for n in levels)]
  _check_fits(3 * int(sum(map(np.prod, shapes))))

  def sheet(
    shape: np.ndarray, images: Iterable[np.ndarray], corners: np.ndarray
  ) -> np.ndarray:
    sheet = np.zeros((*shape, 3), np.uint8)
    for image, (y, x) in zip(images, corners, strict=True):
      h, w = image.shape[:2]
      sheet[y : y + h, x : x + w] = image
    return sheet.reshape(len(sheet), -1)

  lr = sheet(shapes[0], [pair[0] for pair in pairs], origins)
  hr = sheet(shapes[1], [pair[1] for pair in pairs], scale * origins)
  images = store.places[:, 0]
  places = (origins[images] + store.places[:, 1:]).astype(np.int32)
  if store.smaller is None:
    return Resident(lr, hr, places, store.sizes)
  smaller = tuple(
    sheet(
      shapes[1 + n],
      [pair[n - 1] for pair in store.smaller.pairs],
      scale * origins >> n,
    )
    for n in levels
  )
  own = store.own_corners(np.arange(len(places)))
  own += np.stack([scale * origins[images] >> n for n in range(LEVELS)])
  return Resident(lr, hr, places, store.sizes, smaller, own.astype(np.int32))


def _check_fits(needed: int) -> None:
  """Raises UserError unless each local device has `needed` bytes to spare."""
  device = jax.local_devices()[0]
  memory = device_memory()
  if memory is None:  # CPU devices share main memory
    memory = host_memory()
    needed *= jax.local_device_count()
  free = memory.available
  if needed > _SHARE * free:
    raise UserError(
      f"the images need {needed / 1e9:.1f} GB, too much for a device"
      f" ({device.device_kind}) with {free / 1e9:.1f} GB free, since training"
      " needs memory too; --data_mode=tfdata keeps them on the host"
    )


def sample_batch(
  data: Resident,
  seed: jax.Array | int,
  step: jax.Array | int,
  *,
  batch_size: int,
  patch: int,
  shard: tuple[jax.Array | int, int] = (0, 1),
  extras: Extras = NONE,
) -> dict[str, jax.Array]:
  """Cuts, flips and turns the patches of one batch. Can be traced by JAX.

  Args:
    data: the images.
    seed: int32 scalar that determines the order, places, flips and turns.
    step: int32 scalar, 0 for the first batch.
    batch_size: global batch size.
    patch: side p of the LR patches in pixels.
    shard: (index, count) of the devices that share the global batch.
    extras: what else is drawn; LR without HR needs `data.smaller`.

  Returns:
    As `pipeline.cut`, with n = batch_size / count samples.
  """
  samples = plan(
    *(seed, step, data.sizes),
    batch_size=batch_size,
    patch=patch,
    scale=data.scale,
    extras=extras,
  )
  index, count = shard
  rows = batch_size // count
  samples = jax.tree.map(
    lambda x: lax.dynamic_slice_in_dim(x, index * rows, rows), samples
  )
  inside = jnp.stack([samples.y, samples.x], 1)

  def cut(
    sheet: jax.Array | np.ndarray,
    places: jax.Array | np.ndarray,
    factor: int = 1,
  ) -> jax.Array:
    side = factor * patch
    corners = places[samples.crop] + inside

    def one(
      corner: jax.Array,
      flip_x: jax.Array,
      flip_y: jax.Array,
      turn: jax.Array,
      channels: jax.Array | None,
    ) -> jax.Array:
      y, x = factor * corner[0], 3 * factor * corner[1]
      window = lax.dynamic_slice(sheet, (y, x), (side, 3 * side))
      window = window.reshape(side, side, 3)
      window = jnp.where(flip_x, window[:, ::-1], window)
      window = jnp.where(flip_y, window[::-1], window)
      window = jnp.where(turn, jnp.rot90(window), window)
      return window if channels is None else window[..., channels]

    turns = samples.flip_x, samples.flip_y, samples.turn
    return jax.vmap(one)(corners, *turns, samples.channels)

  lr, hr = cut(data.lr, data.places), cut(data.hr, data.places, data.scale)
  if samples.level is None:
    return {"lr": lr, "hr": hr}
  assert data.own_places is not None
  # Each sample is cut from every sheet, which costs less than a choice.
  for number, sheet in enumerate((data.hr, *data.smaller)):
    chosen = (samples.level == number)[:, None, None, None]
    lr = jnp.where(chosen, cut(sheet, data.own_places[number]), lr)
  lr_only = samples.level >= 0
  hr = jnp.where(lr_only[:, None, None, None], jnp.uint8(0), hr)
  return {"lr": lr, "hr": hr, "lr_only": lr_only}
