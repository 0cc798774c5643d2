"""Hardware that does not exist: a tree of small text files, and the tools that build and change it."""
