"""The sources that points are drawn from: laws, sets and files."""
