"""Fine-tune BLIP, an image captioner, until its caption of a photo is the pose."""

__version__ = "0.1.0"
