"""`python -m shoprank`: the command line."""

from shoprank.cli import main

main()
