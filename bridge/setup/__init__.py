"""``bridge init``: the first settings, asked for, checked at the providers, and written into ``.env``."""
