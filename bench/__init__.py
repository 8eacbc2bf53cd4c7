"""The measurements of the bridge, and the tutorial's bridge for comparison. Nothing here is shipped."""
