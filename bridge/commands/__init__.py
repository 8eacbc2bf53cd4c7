"""The commands of the command line. Each checks its arguments, calls the package of its purpose, and says what was
done."""
