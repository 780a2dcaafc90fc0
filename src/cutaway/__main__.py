"""`python -m cutaway`: the same as the console script."""

from cutaway.cli import main

main()
