from evaluation.metrics_file import read_metrics, write_sections


def test_sections_are_written_one_by_one(tmp_path):
    assert read_metrics(tmp_path) == {}
    write_sections(tmp_path, {"test": {"count": 1}, "wild": {"count": 2}})
    write_sections(tmp_path, {"test": {"count": 3}})
    assert read_metrics(tmp_path) == {"test": {"count": 3}, "wild": {"count": 2}}
