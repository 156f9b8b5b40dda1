"""MPII persons as batches: pixels, samples, order, batches and the LightningDataModule.

A batch speaks the model's frame (`image`, `xy_input`, tokens) and carries what leads back to the
user's (`xy_img`, `crop`). Knows nothing of the model beyond its tokenizer.
"""

from blippose.data.batch import Collator, PoseBatch, with_pixels
from blippose.data.cutter import Cutter
from blippose.data.dataset import PoseDataset, Sample
from blippose.data.module import PoseDataModule
from blippose.data.sampler import EpochSampler, OnceSampler
from blippose.release_source import ReleaseSource, Synthetic

__all__ = [
    "Collator",
    "Cutter",
    "EpochSampler",
    "OnceSampler",
    "PoseBatch",
    "PoseDataModule",
    "PoseDataset",
    "ReleaseSource",
    "Sample",
    "Synthetic",
    "with_pixels",
]
