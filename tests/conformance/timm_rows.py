"""timm: every distinct evaluation configuration of its pretrained models, of training sizes and test sizes."""

import timm.data
from timm.models import get_pretrained_cfg, list_pretrained

from conformance.checked import a_tenth, checked, named


def configurations():
    """Each resolved configuration, with the models that have it."""
    found = {}
    for model in list_pretrained():
        for use_test_size in (False, True):
            config = timm.data.resolve_data_config(
                pretrained_cfg=get_pretrained_cfg(model).to_dict(), use_test_size=use_test_size
            )
            key = tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in sorted(config.items()))
            models = found.setdefault(key, {})
            models[model] = None
    return [(dict(key), list(models)) for key, models in found.items()]


def rows(sample):
    for config, models in a_tenth(configurations(), sample):
        transform = timm.data.create_transform(**config)
        for form, source in (("configuration", config), ("transform", transform)):
            yield checked("timm", f"{named(models)}, its {form}", source, transform)
