"""`python -m stages.train`: a pretraining on a machine that has torch and numpy, and nothing else of ours."""

import sys

from stages.train.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
