"""What is measured about the bridge, and the yardstick that it is measured against. Nothing here is shipped."""
