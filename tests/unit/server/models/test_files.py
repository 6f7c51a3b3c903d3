"""By what it is noticed that a bundle was changed."""

from __future__ import annotations

from pathlib import Path

from server.models.files import fingerprint


def test_a_link_that_leads_nowhere_hides_no_change(tmp_path: Path) -> None:
    graph, link = tmp_path / "model.onnx", tmp_path / "note"
    graph.write_bytes(b"graph")
    link.symlink_to("nowhere")
    before = fingerprint(tmp_path)
    assert len(before) == 2
    graph.write_bytes(b"other graph")
    assert fingerprint(tmp_path) != before
    assert fingerprint(tmp_path / "none") == ()
