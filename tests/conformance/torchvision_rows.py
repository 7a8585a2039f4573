"""torchvision: the transforms of all its weights, each distinct one once."""

from torchvision.models import get_model_weights, list_models

from conformance.checked import a_tenth, checked, named


def presets():
    """Each distinct transform, with the weights that have it."""
    found = {}
    for model in list_models():
        for weights in get_model_weights(model):
            transform = weights.transforms()
            # The classes' reprs leave out nothing but antialias, which has the same value everywhere.
            found.setdefault((type(transform).__name__, repr(transform)), (transform, {}))[1][str(weights)] = None
    return [(transform, list(weights)) for transform, weights in found.values()]


def of_one_image(transform):
    """What a transform makes of one image; optical flow takes two."""
    if type(transform).__name__ == "OpticalFlow":
        return lambda image: transform(image, image)[0]
    return transform


def rows(sample):
    for transform, weights in a_tenth(presets(), sample):
        name = f"{type(transform).__name__}: {named(weights)}"
        yield checked("torchvision", name, transform, of_one_image(transform))
