"""What a record says of the machine, beside what the system's own tool says."""

import shutil
import subprocess

import pytest

from study import provenance


@pytest.mark.skipif(shutil.which("lscpu") is None, reason="needs lscpu, of util-linux")
def test_a_processor_is_named_as_exactly_as_lscpu_does() -> None:
    output = subprocess.run(["lscpu"], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}).stdout
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in output.splitlines())}
    name = provenance.hardware("cpu")["cpu"]
    if "CPU family" in told:
        assert told["Model name"] in name
        assert f"(family {told['CPU family']}, model {told['Model']}, stepping {told['Stepping']})" in name
    else:
        assert "(" not in name
