import time
import urllib.request
import zipfile

import numpy as np
from PIL import Image
import pytest

from bamjax.data import cache
from bamjax.data import sources
from bamjax.data import test_sets
from bamjax.errors import UserError
from bamjax.images import resize

SCALE = 2


def image(seed, height=24, width=32):
  rng = np.random.default_rng(seed)
  small = rng.integers(0, 256, (height // 4, width // 4, 3))
  return np.kron(small, np.ones((4, 4, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def div2k(tmp_path_factory):
  """A folder in DIV2K's layout: three training images, one to validate."""
  root = tmp_path_factory.mktemp("div2k")
  for split, numbers in (("train", (1, 2, 3)), ("valid", (801,))):
    hr_dir = root / f"DIV2K_{split}_HR"
    lr_dir = root / f"DIV2K_{split}_LR_bicubic" / f"X{SCALE}"
    hr_dir.mkdir()
    lr_dir.mkdir(parents=True)
    for n in numbers:
      hr = image(n)
      Image.fromarray(hr).save(hr_dir / f"{n:04}.png")
      lr = resize.downscale(hr, SCALE)
      Image.fromarray(lr).save(lr_dir / f"{n:04}x{SCALE}.png")
  return root


def test_div2k_folder_reads_its_own_lr(div2k):
  path = div2k / "DIV2K_train_LR_bicubic" / "X2" / "0002x2.png"
  marked = np.full((12, 16, 3), 9, np.uint8)
  original = path.read_bytes()
  Image.fromarray(marked).save(path)
  source = sources.make_source("div2k", SCALE, data_dir=str(div2k))
  lr, hr = source.train[1].load()
  path.write_bytes(original)
  assert [p.name for p in source.train] == ["0001", "0002", "0003"]
  assert [p.name for p in source.val] == ["0801"]
  np.testing.assert_array_equal(lr, marked)
  np.testing.assert_array_equal(hr, image(2))


def test_div2k_pairs_that_do_not_fit_are_named(div2k):
  path = div2k / "DIV2K_train_LR_bicubic" / "X2" / "0003x2.png"
  original = path.read_bytes()
  Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(path)
  source = sources.make_source("div2k", SCALE, data_dir=str(div2k))
  with pytest.raises(UserError, match="0003.*do not fit"):
    source.train[2].load()
  path.write_bytes(original)


def zipped(root, scale, zips):
  """Small archives in the layout of DIV2K's; returns their names."""
  zips.mkdir()
  names = []
  for split, numbers in (("train", (1, 2, 3)), ("valid", (801,))):
    hr, lr = f"DIV2K_{split}_HR", f"DIV2K_{split}_LR_bicubic"
    for folder, archive in ((hr, hr), (lr, f"{lr}_X{scale}")):
      names.append(f"{archive}.zip")
      with zipfile.ZipFile(zips / names[-1], "w") as file:
        for n in numbers:
          pixels, name = image(n), f"{folder}/{n:04}.png"
          if folder == lr:
            pixels = resize.downscale(resize.mod_crop(pixels, scale), scale)
            name = f"{folder}/X{scale}/{n:04}x{scale}.png"
          Image.fromarray(pixels).save(root / "image.png")
          file.write(root / "image.png", name)
  return names


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tfds_builder_reads_zips_already_downloaded(tmp_path, scale):
  tfds = pytest.importorskip("tensorflow_datasets")
  from tensorflow_datasets.core.download import checksums
  from tensorflow_datasets.datasets.div2k import div2k_dataset_builder

  zips = tmp_path / "zips"
  names = zipped(tmp_path, scale, zips)
  config = f"bicubic_x{scale}"
  real = tfds.builder(f"div2k/{config}", data_dir=tmp_path / "real")
  small = {
    url: checksums.compute_url_info(zips / url.rpartition("/")[2])
    for url in real.url_infos
    if url.rpartition("/")[2] in names
  }
  assert len(small) == 4

  class Div2kMini(div2k_dataset_builder.Builder, skip_registration=True):
    """The real builder, with the checksums of these small archives."""

    pkg_dir_path = div2k_dataset_builder.Builder.pkg_dir_path
    url_infos = small

  builder = Div2kMini(config=config, data_dir=tmp_path / "tfds")
  source = sources.from_builder(builder, manual_dir=str(zips))
  assert (len(source.train), len(source.val)) == (3, 1)
  # Decoded as in a run, by several threads, into a file.
  decoded = cache.decode(source.train, cache_dir=tmp_path / "cache")
  expected = {resize.mod_crop(image(n), scale).tobytes() for n in (1, 2, 3)}
  assert {hr.tobytes() for _, hr in decoded.pairs} == expected
  lr, hr = source.val[0].load()
  np.testing.assert_array_equal(hr, resize.mod_crop(image(801), scale))
  np.testing.assert_array_equal(lr, resize.downscale(hr, scale))
  # The archives were used in place: no copy of them was made.
  copies = (tmp_path / "tfds").rglob("*.zip")
  assert not [path for path in copies if path.is_file()]


def test_folder_holds_some_images_out(tmp_path):
  for n in range(4):
    Image.fromarray(image(n, 26, 33)).save(tmp_path / f"{n}.png")
  source = sources.make_source("folder", SCALE, data_dir=str(tmp_path))
  assert [p.name for p in source.val] == ["0"]
  assert [p.name for p in source.train] == ["1", "2", "3"]
  lr, hr = source.train[0].load()
  assert hr.shape == (24, 32, 3) and lr.shape == (12, 16, 3)


def test_folder_needs_images(tmp_path):
  with pytest.raises(UserError, match="--data_dir"):
    sources.make_source("folder", SCALE)
  Image.fromarray(image(0)).save(tmp_path / "only.png")
  with pytest.raises(UserError, match="only one image"):
    sources.make_source("folder", SCALE, data_dir=str(tmp_path))


def test_no_image_is_read_to_find_them(tmp_path):
  for n in range(3):
    Image.fromarray(image(n)).save(tmp_path / f"{n}.png")
  (tmp_path / "val").mkdir()
  Image.fromarray(image(9)).save(tmp_path / "val" / "good.png")
  (tmp_path / "val" / "text.png").write_text("not an image")
  options = {"data_dir": str(tmp_path), "val_dir": str(tmp_path / "val")}
  source = sources.make_source("folder", SCALE, **options)
  assert [p.name for p in source.train] == ["0", "1", "2"]
  assert [p.name for p in source.val] == ["good", "text"]
  # Whoever reads it names it; see validation_test.py and crops.
  with pytest.raises(UserError, match=r"text\.png cannot be read"):
    source.val[1].load()


def test_kinds_and_folders_that_do_not_exist(tmp_path):
  with pytest.raises(UserError, match="sample, folder, div2k"):
    sources.make_source("set5", SCALE)
  with pytest.raises(UserError, match="no folder"):
    sources.make_source("folder", SCALE, data_dir=str(tmp_path / "absent"))
  with pytest.raises(UserError, match="holds no image"):
    sources.make_source("folder", SCALE, data_dir=str(tmp_path))


def test_images_of_ones_own_are_no_div2k(tmp_path):
  Image.fromarray(image(0)).save(tmp_path / "a.png")
  with pytest.raises(UserError, match="has 1 image but no.*add --data=folder"):
    sources.make_source("div2k", SCALE, data_dir=str(tmp_path))


def test_div2k_at_a_scale_that_is_not_published(tmp_path):
  with pytest.raises(UserError, match="×5.*--data=folder"):
    sources.make_source("div2k", 5, data_dir=str(tmp_path))


def test_div2k_out_of_reach_is_told_within_seconds(tmp_path, monkeypatch):
  pytest.importorskip("tensorflow")  # its import is not what is timed
  pytest.importorskip("tensorflow_datasets")

  def hang(request, timeout):
    assert request.get_method() == "HEAD"
    time.sleep(30)  # as a name look-up does, whatever the timeout

  monkeypatch.setattr(urllib.request, "urlopen", hang)
  start = time.monotonic()
  with pytest.raises(UserError) as caught:
    sources.make_source("div2k", SCALE, data_dir=str(tmp_path))
  assert time.monotonic() - start < 15
  message = str(caught.value)
  assert "\n" not in message
  for flag in ("--data_dir", "--data=folder", "--config=configs/quickstart.py"):
    assert flag in message


def test_a_damaged_zip_is_told_in_one_line(tmp_path):
  tfds = pytest.importorskip("tensorflow_datasets")
  zips = tmp_path / "zips"
  zips.mkdir()
  builder = tfds.builder("div2k/bicubic_x2", data_dir=tmp_path / "tfds")
  for url in builder.url_infos:
    (zips / url.rpartition("/")[2]).write_bytes(b"cut short")
  with pytest.raises(UserError, match="DIV2K_.*zip") as caught:
    sources.from_builder(builder, manual_dir=str(zips))
  assert "\n" not in str(caught.value)


def test_names_that_are_no_utf_8_are_spelt(tmp_path):
  for name in ("caf\udce9", "é"):
    Image.fromarray(image(0)).save(tmp_path / f"{name}.png")
  found = sources.make_source(
    "folder", SCALE, data_dir=str(tmp_path), val_dir=str(tmp_path)
  )
  assert {p.name for p in found.train} == {"caf\\udce9", "é"}
  decoded = cache.decode(found.train, cache_dir=tmp_path / "cache")
  assert len(decoded.pairs) == 2
  test_set = test_sets.find_benchmark(tmp_path, SCALE)
  assert {p.name for p in test_set.images} == {"caf\\udce9", "é"}
  assert all(p.load()[1].shape == (24, 32, 3) for p in test_set.images)
