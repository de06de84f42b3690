"""`python -m seedwise`, which torchrun needs."""

from seedwise.cli import main

if __name__ == "__main__":
    main()
