"""`python -m sanity`."""

from sanity.app import main

main()
