"""What is asked for, as immutable values: normalisations, targets, geometry, resampling tables and plans.

Nothing here touches a device or an image's pixels. The one file that is read is a model's configuration (`config`).
"""
