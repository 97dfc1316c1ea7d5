from concurrent import futures
import io
import itertools
import os
import struct
import sys
import warnings
import zlib

import numpy as np
from PIL import features
from PIL import Image
from PIL import ImageCms
from PIL import ImageFile
from PIL import PngImagePlugin
import pytest
import tifffile

from bamjax.errors import UserError
from bamjax.images import decoding
from bamjax.images import image_file
from bamjax.images.rgb import read_rgb

rng = np.random.default_rng(0)
COLOR = rng.integers(0, 256, (13, 9, 3), dtype=np.uint8)
DEEP = rng.integers(0, 65536, (13, 9, 5), dtype=np.uint16)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TURNED = {
  1: lambda a: a,
  2: np.fliplr,
  3: lambda a: np.rot90(a, 2),
  4: np.flipud,
  5: lambda a: np.rot90(np.fliplr(a)),
  6: lambda a: np.rot90(a, -1),
  7: lambda a: np.rot90(np.fliplr(a), -1),
  8: np.rot90,
}


def check(path, color, alpha=None):
  """Compares with H×W×3 and H×W of the same dtype, and so `read_rgb`."""
  image = decoding.read(path)
  assert image.color.dtype == color.dtype
  np.testing.assert_array_equal(image.color, color)
  if alpha is None:
    assert image.alpha is None
  else:
    assert image.alpha.dtype == color.dtype
    np.testing.assert_array_equal(image.alpha, alpha)
  share = 257 if color.dtype == np.uint16 else 1
  rgb = read_rgb(path)
  assert rgb.dtype == np.uint8 and rgb.flags.c_contiguous
  np.testing.assert_array_equal(rgb, np.floor(color / share + 0.5))


def chunk(kind, data):
  check = struct.pack(">I", zlib.crc32(kind + data))
  return struct.pack(">I", len(data)) + kind + data + check


def png(path, pixels, bits, kind, *chunks):
  """Writes H×W×C as PNG of any depth, other chunks before the pixels."""
  height, width = pixels.shape[:2]
  if bits == 16:
    rows = [row.astype(">u2").tobytes() for row in pixels]
  else:
    each = np.unpackbits(pixels.astype(np.uint8)[..., None], axis=-1)
    rows = np.packbits(each[..., 8 - bits :].reshape(height, -1), axis=1)
    rows = [row.tobytes() for row in rows]
  header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
  data = zlib.compress(b"".join(b"\0" + row for row in rows))
  chunks = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
  chunks = b"".join(chunk(*c) for c in chunks)
  path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "CMYK", "P", "1"])
def test_uncompressed_tiff_is_turned(tmp_path, mode):
  if mode == "I;16":
    image = Image.fromarray(DEEP[..., 0])
  else:
    image = Image.fromarray(COLOR).convert(mode)
  upright = np.asarray(image if mode == "I;16" else image.convert("RGB"))
  for orientation, turned in TURNED.items():
    path = tmp_path / f"{orientation}.tif"
    image.save(path, tiffinfo={0x0112: orientation})
    color = turned(upright)
    if color.ndim == 2:
      color = np.stack([color] * 3, axis=-1)
    check(path, color, 255 + 0 * color[..., 0] if mode == "RGBA" else None)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("photometric", ["miniswhite", "minisblack", "rgb"])
def test_tiff_of_every_layout(tmp_path, bits, photometric):
  peak = 2**bits - 1
  count = 3 if photometric == "rgb" else 1
  path = tmp_path / "a.tif"
  names = {0: "unspecified", 1: "assocalpha", 2: "unassalpha"}
  extras = [(), (0,), (1,), (2,), (0, 2)]
  for extra, plane in itertools.product(extras, ["contig", "separate"]):
    samples = (DEEP if bits == 16 else DEEP >> 8).astype(f"uint{bits}")
    samples = samples[..., : count + len(extra)].copy()
    color, alpha = samples[..., :count], None
    if 1 in extra:
      alpha = samples[..., count] = np.maximum(samples[..., count], peak // 2)
      samples[..., :count] = color * (alpha[..., None] / peak)
      # Rounded half up.
      whole = samples[..., :count] * np.int64(peak) + alpha[..., None] // 2
      color = np.minimum(whole // alpha[..., None], peak).astype(samples.dtype)
    elif 2 in extra:
      alpha = samples[..., -1]
    if photometric == "miniswhite":
      color = peak - color
    color = np.broadcast_to(color, (*color.shape[:2], 3))
    single = samples.shape[-1] == 1
    if single and plane == "separate":
      continue
    stored = np.moveaxis(samples, -1, 0) if plane == "separate" else samples
    for orientation, order, compression in [(1, "<", None), (7, ">", "zlib")]:
      tifffile.imwrite(
        path,
        stored[..., 0] if single else stored,
        byteorder=order,
        photometric=photometric,
        planarconfig=None if single else plane,
        extrasamples=[names[e] for e in extra] or None,
        compression=compression,
        extratags=[(274, "H", 1, orientation, True)],
        metadata=None,
      )
      turned = TURNED[orientation]
      check(path, turned(color), None if alpha is None else turned(alpha))


def test_density_is_turned_with_the_image(tmp_path):
  for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(COLOR)
    for ext in ("jpg", "png", "tif"):
      image.save(tmp_path / f"a.{ext}", exif=exif, dpi=(300, 100))
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(
      tmp_path / "deep.tif",
      DEEP[..., :3],
      resolution=(300, 100),
      resolutionunit="INCH",
      extratags=tags,
      photometric="rgb",
    )
    for name in ("a.jpg", "a.png", "a.tif", "deep.tif"):
      image = decoding.read(tmp_path / name)
      assert (image.color.shape[0] == 9) == (orientation > 4)
      want = (100, 300) if orientation > 4 else (300, 100)
      np.testing.assert_allclose(image.dpi, want, atol=0.02)


@pytest.mark.parametrize(
  ("order", "big"), [("<", False), (">", False), ("<", True), (">", True)]
)
def test_tags_of_tiff_of_16_bits_are_read(tmp_path, caplog, order, big):
  tifffile.imwrite(
    tmp_path / "a.tif",
    DEEP[..., :3],
    photometric="rgb",
    bigtiff=big,
    byteorder=order,
    extratags=[(0x010F, "s", 0, "Maker", True)],
    metadata=None,
  )
  exif = decoding.read(tmp_path / "a.tif").exif
  if big and order == ">":  # Pillow does not support it
    assert exif is None and "EXIF data was not read" in caplog.text
    assert "damaged" not in caplog.text
  else:
    assert exif[0x010F] == "Maker" and not caplog.messages


def test_lzw_of_16_bits_is_read_or_refused(tmp_path):
  path = tmp_path / "a.tif"
  Image.fromarray(DEEP[..., 0]).save(path, compression="tiff_lzw")
  check(path, np.stack([DEEP[..., 0]] * 3, axis=-1))
  data = bytearray(path.read_bytes())
  with tifffile.TiffFile(path) as file:
    at = file.pages[0].tags["PhotometricInterpretation"].valueoffset
  data[at] = 0  # white is zero, which Pillow ignores
  path.write_bytes(data)
  with pytest.raises(
    UserError, match="unsupported layout .MINISWHITE, LZW.; save it"
  ):
    decoding.read(path)


@pytest.mark.parametrize("dtype", [np.int16, np.uint32, np.float32])
def test_other_dtypes_are_refused(tmp_path, dtype):
  tifffile.imwrite(tmp_path / "a.tif", DEEP[..., 0].astype(dtype))
  for read in (decoding.read, read_rgb):
    with pytest.raises(UserError, match="bits per channel"):
      read(tmp_path / "a.tif")


def test_transparent_colors_of_png(tmp_path):
  path = tmp_path / "a.png"
  marked = DEEP[..., :3].copy()
  marked[2:5, 3:6] = key = 65535, 0, 258
  png(path, marked, 16, 2, (b"tRNS", struct.pack(">HHH", *key)))
  alpha = np.where((marked == key).all(-1), 0, 65535)
  check(path, marked, alpha)
  gray = np.broadcast_to(marked[..., 2:], marked.shape)
  png(path, gray[..., :1], 16, 0, (b"tRNS", struct.pack(">H", 258)))
  check(path, gray, alpha)
  for bits in (1, 2, 4, 8):
    peak = 2**bits - 1
    few = COLOR[..., :1] >> 8 - bits
    png(path, few, bits, 0, (b"tRNS", struct.pack(">H", peak)))
    color = np.broadcast_to(few * (255 // peak), COLOR.shape)
    check(path, color, np.where(few[..., 0] == peak, 0, 255))
  png(path, DEEP[..., :2], 16, 4)  # gray and alpha
  check(path, np.broadcast_to(DEEP[..., :1], marked.shape), DEEP[..., 1])


def test_lab_becomes_rgb_without_its_profile(tmp_path):
  image = Image.new("RGB", (5, 4), (200, 60, 30)).convert("LAB")
  image.save(tmp_path / "a.tif")
  with Image.open(tmp_path / "a.tif") as file:
    assert file.info["icc_profile"]
  image = decoding.read(tmp_path / "a.tif")
  assert image.icc is None
  assert abs(image.color.astype(int) - (200, 60, 30)).max() <= 3


def test_large_profiles_and_texts_are_read(tmp_path):
  path, before = tmp_path / "a.png", PngImagePlugin.MAX_TEXT_CHUNK
  profile = SRGB + rng.bytes(1_100_000)
  packed = zlib.compress("é".encode() * 700_000)
  chunks = [
    (b"iCCP", b"big\0\0" + zlib.compress(profile)),
    (b"zTXt", b"workflow\0\0" + zlib.compress(b"x" * 1_300_000)),
    (b"iTXt", b"title\0\1\0fr\0titre\0" + packed),
    (b"tEXt", b"short\0text"),
  ]
  png(path, COLOR, 8, 2, *chunks)
  # Texts may come after the pixels, too.
  late = b"".join(chunk(*c) for c in chunks[1:])
  end = chunk(b"IEND", b"")
  for data in (
    path.read_bytes(),
    path.read_bytes().replace(late, b"").replace(end, late + end),
  ):
    path.write_bytes(data)
    check(path, COLOR)
    image = decoding.read(path)
    assert image.icc == profile
    assert image.text == {
      "workflow": "x" * 1_300_000,
      "title": "é" * 700_000,
      "short": "text",
    }
  assert PngImagePlugin.MAX_TEXT_CHUNK == before == 2**20
  # Pillow's limit on all texts together, against bombs, stays.
  bomb = b"zTXt", b"a\0\0" + zlib.compress(bytes(65 * 2**20))
  png(path, COLOR, 8, 2, bomb)
  with pytest.raises(UserError, match="too large"):
    decoding.read(path)


def test_threads_leave_the_filters_of_warnings(tmp_path):
  """`warnings.catch_warnings` in threads would leave those of another."""
  exif = Image.Exif()
  exif[0x0112] = 6
  Image.fromarray(COLOR).resize((300, 200)).save(tmp_path / "a.jpg", exif=exif)
  before = list(warnings.filters)
  with futures.ThreadPoolExecutor(8) as pool:
    for image in pool.map(decoding.read, [tmp_path / "a.jpg"] * 100):
      image_file.write(tmp_path / "b.jpg", image)
  assert list(warnings.filters) == before


def _patched(data, at, layout, *values):
  struct.pack_into(layout, data, at, *values)
  return data


def _claiming(ext, width, height):
  """A file of about 1 kB whose header claims a size."""
  file = io.BytesIO()
  kind = Image.registered_extensions()[f".{ext.partition(' ')[0]}"]
  options = {"tif lzw": {"compression": "tiff_lzw"}}
  options["tif zip"] = {"compression": "tiff_adobe_deflate"}
  options["tif packbits"] = {"compression": "packbits"}
  image = Image.fromarray(COLOR)
  if ext == "tif zip":  # of 16 bits, which tifffile reads
    tifffile.imwrite(file, DEEP[..., :3], photometric="rgb", compression="zlib")
  else:
    image.save(file, kind, **options.get(ext, {}))
  data = bytearray(file.getvalue())
  if kind == "PNG":
    _patched(data, 16, ">II", width, height)
    return _patched(data, 29, ">I", zlib.crc32(data[12:29]))
  if kind == "JPEG":
    start = data.index(b"\xff\xc0")
    return _patched(data, start + 5, ">HH", height, width)
  if kind == "BMP":
    return _patched(data, 18, "<ii", width, height)
  if kind == "GIF":
    return _patched(data, 6, "<HH", width, height)
  with tifffile.TiffFile(io.BytesIO(data)) as tiff:
    tags = tiff.pages[0].tags
    fields = {256: width, 257: height, 278: height}
    found = [(tags[n], fields[n]) for n in fields if n in tags]
  for tag, value in found:
    _patched(data, tag.valueoffset, "<H" if tag.dtype == 3 else "<I", value)
  return data


@pytest.mark.parametrize(
  "ext",
  ["png", "jpg", "bmp", "gif", "tif", "tif lzw", "tif zip", "tif packbits"],
)
def test_what_a_file_cannot_hold_is_not_allocated(tmp_path, monkeypatch, ext):
  path = tmp_path / f"a.{ext[:3]}"
  path.write_bytes(_claiming(ext, 9, 13))  # as it is
  decoding.read(path)
  # Below Pillow's limit: 130 million pixels, 390 MB or 780 MB.
  path.write_bytes(_claiming(ext, 13_000, 10_000))

  def allocate(*_):
    raise AssertionError("it is allocated")

  monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", allocate)
  monkeypatch.setattr(tifffile.TiffPage, "asarray", allocate)
  with pytest.raises(UserError, match="damaged or truncated: .* not in [0-9]"):
    decoding.read(path)


def test_samples_count_as_bytes(tmp_path):
  path = tmp_path / "a.tif"
  tifffile.imwrite(path, DEEP[..., :3], photometric="rgb", compression="zlib")
  data = bytearray(path.read_bytes())
  with tifffile.TiffFile(path) as tiff:
    at = tiff.pages[0].tags["SamplesPerPixel"].valueoffset
  path.write_bytes(_patched(data, at, "<H", 46_595))
  # 13×9 pixels of 46,595 samples of 2 bytes.
  with pytest.raises(UserError, match="10,903,230 bytes of pixels"):
    decoding.read(path)


@pytest.mark.parametrize(
  ("ext", "mode", "options"),
  [
    ("png", "1", {}),
    ("png", "P", {"bits": 1}),
    ("png", "L", {"bits": 2}),
    ("png", "RGBA", {}),
    ("gif", "L", {}),
    ("jpg", "L", {"progressive": True, "optimize": True}),
    ("jpg", "RGB", {"progressive": True, "optimize": True, "quality": 1}),
    ("tif", "1", {"compression": "group4"}),
    ("tif", "1", {"compression": "tiff_lzw"}),
    ("tif", "L", {"compression": "tiff_lzw"}),
    ("tif", "L", {"compression": "packbits"}),
    ("tif", "RGB", {"compression": "tiff_adobe_deflate"}),
    ("tif", "I;16", {"compression": "tiff_adobe_deflate"}),
    ("tif", "RGB", {"compression": "jpeg"}),
    ("webp", "RGB", {"lossless": True}),
    ("bmp", "1", {}),
    ("bmp", "RGB", {}),
    ("ppm", "1", {}),
    ("tga", "RGB", {"compression": "tga_rle"}),
    ("avif", "RGB", {}),
    ("jp2", "RGB", {}),
  ],
)
def test_what_compresses_best_is_not_refused(tmp_path, ext, mode, options):
  """An image of one color, which has the most pixels per byte."""
  path = tmp_path / f"a.{ext}"
  needed = {"avif": "avif", "jp2": "jpg_2000", "webp": "webp"}.get(ext)
  if needed and not features.check(needed):
    pytest.skip(f"Pillow was built without {ext}")
  Image.new(mode, (2000, 1500)).save(path, **options)
  assert decoding.read(path).color.shape == (1500, 2000, 3)


def test_a_size_is_measured_without_decoding(tmp_path, monkeypatch):
  exif = Image.Exif()
  wide = Image.fromarray(COLOR).resize((9, 4))
  paths = []
  for orientation in (1, 6):
    exif[0x0112] = orientation
    for ext in ("png", "jpg", "webp", "tif", "bmp"):
      paths.append(tmp_path / f"{orientation}.{ext}")
      wide.save(paths[-1], **{} if ext == "bmp" else {"exif": exif})
    paths.append(tmp_path / f"{orientation}deep.tif")
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(
      paths[-1],
      DEEP[:4, :, :3],
      photometric="rgb",
      extratags=tags,
      byteorder=">",
      bigtiff=True,
    )
  want = [decoding.read(path).color.shape[:2] for path in paths]
  assert {(4, 9), (9, 4)} == set(want)

  def decode(*_):
    raise AssertionError("it is decoded")

  monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
  monkeypatch.setattr(tifffile.TiffPage, "asarray", decode)
  assert [decoding.measure(path) for path in paths] == want
  paths[0].write_text("text")
  with pytest.raises(UserError, match="1.png cannot be read"):
    decoding.measure(paths[0])


def test_images_with_damaged_exif_are_read(tmp_path, caplog):
  damaged = b"II*\0" + struct.pack("<IHHHII", 8, 9, 0x8769, 4, 1, 99999)
  png(tmp_path / "a.png", COLOR, 8, 2, (b"eXIf", damaged))
  png(tmp_path / "b.png", COLOR, 8, 2, (b"eXIf", b"II*\0"))
  png(tmp_path / "c.png", COLOR, 8, 2, (b"eXIf", b"no EXIF data"))
  for name in "abc":
    check(tmp_path / f"{name}.png", COLOR)
  assert "c.png: EXIF data was not read" in caplog.text


def test_a_missing_package_is_no_damaged_image(tmp_path, monkeypatch):
  Image.fromarray(COLOR).save(tmp_path / "a.tif")
  monkeypatch.setitem(sys.modules, "tifffile", None)
  with pytest.raises(UserError, match="read as an image .*tifffile") as caught:
    decoding.read(tmp_path / "a.tif")
  assert "damaged" not in str(caught.value)


def test_the_first_of_several_frames_is_used_and_logged_once(tmp_path, caplog):
  frames = [Image.fromarray(COLOR), Image.fromarray(255 - COLOR)]
  for ext in ("png", "gif", "webp", "tif"):
    frames[0].save(
      tmp_path / f"a.{ext}", save_all=True, append_images=frames[1:]
    )
    for _ in range(2):
      found = read_rgb(tmp_path / f"a.{ext}")
    if ext in ("png", "tif"):  # without loss
      np.testing.assert_array_equal(found, COLOR)
    assert caplog.text.count(f"a.{ext} has several frames") == 1


@pytest.mark.timeout(60)  # opening a pipe would block forever
def test_paths_that_are_not_files_are_named(tmp_path):
  os.mkfifo(tmp_path / "fifo.png")
  (tmp_path / "dangling.png").symlink_to("absent.png")
  (tmp_path / "loop.png").symlink_to("loop.png")
  (tmp_path / "folder.png").mkdir()
  for name, reason in {
    "fifo": "not a regular file",
    "folder": "not a regular file",
    "dangling": "a broken link",
    "loop": "symbolic links",
  }.items():
    for read in (decoding.read, read_rgb):
      with pytest.raises(UserError, match=f"{name}.*{reason}"):
        read(tmp_path / f"{name}.png")


@pytest.mark.parametrize("error", [TypeError, RuntimeError, MemoryError])
def test_whatever_pillow_raises_names_the_file(tmp_path, monkeypatch, error):
  def fail(self):
    raise error

  png(tmp_path / "a.png", COLOR, 8, 2)
  monkeypatch.setattr(Image.Image, "load", fail)
  with pytest.raises(UserError, match="a.png cannot be read as an image"):
    read_rgb(tmp_path / "a.png")


def test_mutated_files_are_read_or_named(tmp_path, monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # for speed
  sources = {}
  image = Image.fromarray(COLOR)
  exif = Image.Exif()
  exif[0x0112] = 6
  exif.get_ifd(0x8769)[0xA002] = 9
  for ext in ("png", "jpg", "webp", "bmp", "tif"):
    file = io.BytesIO()
    image.save(file, Image.registered_extensions()[f".{ext}"], exif=exif)
    sources[ext] = file.getvalue()
  planes = {"contig": DEEP, "separate": np.moveaxis(DEEP, -1, 0)}
  for name, plane in planes.items():
    file = io.BytesIO()
    tifffile.imwrite(
      file, plane, photometric="rgb", planarconfig=name, compression="zlib"
    )
    sources[f"{name}.tif"] = file.getvalue()
  for name, data in sources.items():
    for n in range(15):
      damaged = bytearray(data)
      for at in rng.integers(0, min(len(data), 400), 1 + n % 4):
        damaged[at] = rng.integers(256)
      damaged = damaged[: rng.integers(1, len(data))] if n % 5 == 4 else damaged
      (tmp_path / name).write_bytes(damaged)
      for read in (decoding.read, read_rgb):
        try:
          read(tmp_path / name)
        except UserError as error:
          assert name in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
  "name, mode, options, lossy",
  [
    ("a.jpg", "RGB", {}, True),
    ("a.jpg", "CMYK", {"quality": 100}, True),
    ("a.jpg", "L", {}, True),
    ("a.mpo", "RGB", {"save_all": True}, True),
    ("a.webp", "RGB", {}, True),
    ("a.webp", "RGBA", {"quality": 100}, True),
    ("a.webp", "RGBA", {"lossless": True}, False),
    ("a.tif", "RGB", {"compression": "jpeg"}, True),
    ("a.tif", "RGB", {"compression": "tiff_lzw"}, False),
    ("a.tif", "I;16", {}, False),
    ("a.png", "RGB", {}, False),
    ("a.bmp", "RGB", {}, False),
  ],
)
def test_lossy_compression_is_recognised(tmp_path, name, mode, options, lossy):
  Image.new(mode, (16, 16)).save(tmp_path / name, **options)
  assert decoding.read(tmp_path / name).lossy == lossy
