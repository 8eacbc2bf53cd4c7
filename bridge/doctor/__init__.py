"""``bridge doctor`` and ``bridge connect``: what is wrong around the bridge, and what to do about it."""
