"""What operators read: queries without side effects."""
