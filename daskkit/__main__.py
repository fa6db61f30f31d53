"""``python -m daskkit`` is the command ``daskkit``."""

from daskkit.cli import main

if __name__ == "__main__":
    main(prog_name="daskkit")
