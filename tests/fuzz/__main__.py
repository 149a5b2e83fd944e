"""As many hostile requests as one has time for: `python -m tests.fuzz 10000`, or one again that failed: `python -m tests.fuzz 1 --first 1234`."""

import sys

import pytest

if __name__ == "__main__":
    count, *rest = sys.argv[1:] or ["10000"]
    sys.exit(pytest.main(["tests/fuzz", "--requests", count, "--capture=no", "--timeout=0", "-p", "no:cacheprovider", *rest]))
