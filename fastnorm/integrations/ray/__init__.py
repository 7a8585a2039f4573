"""A data set encoded once by several models, on Ray Data: resumable, and addressed by content.

    from fastnorm.integrations.ray import encode

    encode("photos/", "encoded/", {"vae": (fastnorm.VAE_512, "sd/vae"), "clip": (fastnorm.CLIP_224, "clip")})

Needs the extra `ray`: `pip install "fastnorm-triton[ray]"`.
"""

from fastnorm.integrations.ray.job import EncodeError, Summary, encode
from fastnorm.integrations.ray.output import Status, status, verify

__all__ = ["EncodeError", "Status", "Summary", "encode", "status", "verify"]
