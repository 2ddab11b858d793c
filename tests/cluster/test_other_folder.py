import pytest

from tests.cluster.other_folder import OPTIONS
from tests.cluster.own_process import run_in_own_process


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_processes_of_a_cluster_work_in_the_folder_of_the_driver(tmp_path):
    found = run_in_own_process("other_folder", tmp_path)
    assert found == dict.fromkeys(OPTIONS, str(tmp_path / "work"))
