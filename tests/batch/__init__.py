import pytest

pytest.importorskip(
    "ray", reason="the engine of batch jobs is not installed: pip install -c constraints.txt -e '.[batch]'"
)
