import dataclasses

import pytest

from bamjax.data.degradation import mixtures
from bamjax.errors import UserError


@pytest.mark.parametrize(
  "make, message",
  [
    (lambda: mixtures.named("film"), "unknown degradation 'film': use one of"),
    (lambda: mixtures.Noise(sigma=(-1, 5)), "must be at least 0"),
    (lambda: mixtures.Noise(sigma=(5, 1)), "is no range"),
    (lambda: mixtures.Noise(sigma=(0, float("nan"))), "is no range"),
    (lambda: mixtures.Noise(sigma=(0, float("inf"))), "must be finite"),
    (lambda: mixtures.Noise(gray_probability=1.5), "between 0 and 1"),
    (lambda: mixtures.Jpeg(quality=(0, 50)), "must be at least 1"),
    (lambda: mixtures.Jpeg(quality=(50, 101)), "must be at most 100"),
    (lambda: mixtures.Jpeg(quality=(50.5, 60)), "whole numbers"),
    (lambda: mixtures.Jpeg(subsampling="4:1:1"), "chroma subsampling"),
    (lambda: mixtures.Stage(kernel_size=(7, 20)), "must be odd .* not 20"),
    (lambda: mixtures.Stage(blur_sigma=(0, 1)), "must be above 0"),
    (lambda: mixtures.Stage(resize=(0, 1)), "must be above 0"),
    (
      lambda: mixtures.Stage(resize_probabilities=(0.5, 0.4, 0.2)),
      "must add up to 1",
    ),
    (lambda: mixtures.Stage(kernel_probabilities=(1.0,)), "six are needed"),
    (lambda: mixtures.Photo(final_sinc_probability=-1), "between 0 and 1"),
    (lambda: mixtures.named("noise", {"sigma": (5, 1)}), "is no range"),
    (lambda: mixtures.named("noise", {"sigma": 5}), "sigma can't be 5"),
    (lambda: mixtures.named("noise", {"blur": 5}), "no blur; it has sigma"),
    (lambda: mixtures.named("bicubic", {"blur": 5}), "it has no options"),
    (lambda: mixtures.named("jpeg", {"quality": ["a", "b"]}), "can't be"),
    (lambda: mixtures.named("jpeg", {"random_grid": 1}), "can't be 1"),
    (lambda: mixtures.named("photo", {"first": 2}), "first can't be 2"),
    (lambda: mixtures.named("photo", {"first": {"x": 2}}), "first: there is"),
  ],
)
def test_mistakes(make, message):
  with pytest.raises(UserError, match=message) as caught:
    make()
  assert "\n" not in str(caught.value)


def test_options_change_fields_as_json_writes_them():
  assert mixtures.named("noise", {"sigma": [0, 5]}).sigma == (0, 5)
  photo = mixtures.named("photo", {"first": {"resize": [0.5, 1.2]}})
  assert photo.first == dataclasses.replace(
    mixtures.Photo().first, resize=(0.5, 1.2)
  )
  assert photo.second == mixtures.Photo().second
  hash(photo)  # it is a static argument
