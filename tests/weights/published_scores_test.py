"""Released weights score what their authors' code scores."""

import pytest

from bamjax import load_weights
from bamjax import Upscaler
from bamjax.data.test_sets import find_benchmark
from bamjax.evaluation.scoring import evaluate
from shared import needs_shared
from shared import SHARED

# PSNR-Y on Set5, protocol matlab, of the released PyTorch code, in dB.
SET5 = {
  "bsrn": {2: 38.08, 3: 34.45, 4: 32.35},
  "smfanet_plus": {2: 38.19, 3: 34.67, 4: 32.51},
}


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", SET5)
def test_scores_are_the_published_ones(name, scale):
  path = SHARED / "weights" / f"{name}_x{scale}.safetensors"
  images = find_benchmark(SHARED / "benchmarks" / "Set5", scale).images
  upscaler = Upscaler(*load_weights(path), padded=True)
  scores = evaluate(upscaler, images, scale)["matlab"]
  assert abs(scores["psnr_y"] - SET5[name][scale]) < 0.01
