"""The node's YAML: what is wrong in it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from common.errors import InputError
from serving.dicom_node.settings import NodeLimits, NodeSettings, Peer, read_settings

GOOD: dict[str, Any] = {
    "queue": "queue",
    "peers": {"pacs": {"ae_title": "PACS", "host": "127.0.0.1", "port": 104}},
    "receive": {},
    "answer": {"peer": "pacs"},
}


def read(folder: Path, **changes: Any) -> NodeSettings:
    file = folder / "node.yaml"
    file.write_text(yaml.safe_dump(GOOD | changes))
    return read_settings(file)


def test_a_node_listens_on_loopback_unless_told_otherwise(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert settings.receive is not None
    assert (settings.receive.host, settings.receive.port) == ("127.0.0.1", 11112)


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    files = {"certificate": "a.crt", "key": "/etc/a.key", "ca": "ca.pem"}
    settings = read(tmp_path, tls=files)
    assert settings.queue == tmp_path / "queue"
    assert settings.tls is not None
    assert settings.tls.certificate == tmp_path / "a.crt"
    assert settings.tls.key == Path("/etc/a.key")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"receive": None}, "give receive, stow or poll"),
        ({"receive": {"senders": ["nobody"]}}, "peers: nobody there is called nobody"),
        ({"receive": {"senders": []}}, "peers: nobody may send"),
        ({"answer": {}}, "answer: give either peer or web"),
        ({"answer": {"peer": "pacs", "web": {"url": "http://a"}}}, "give either peer or web"),
        ({"answer": {"peer": "other"}}, "nobody there is called other"),
        ({"peers": {"pacs": {"ae_title": "P", "host": "h"}}}, "pacs needs a port"),
        ({"receive": {"tls": True}}, "tls: give certificate, key and ca"),
        ({"ae_title": "A" * 17}, "ae_title: 'AAAAAAAAAAAAAAAAA' is no AE title"),
        ({"ae_title": "A "}, "is no AE title"),
        ({"ae_title": "A\\B"}, "is no AE title"),
        ({"answer": {"web": {"url": "ftp://a"}}}, r"answer\.web\.url: 'ftp://a' is no address"),
        (
            {"answer": {"web": {"url": "http://pacs/", "authorization_file": "a"}}},
            "authorization_file goes to https:// only",
        ),
        ({"limits": {"instances": 0}}, r"limits\.instances: "),
        ({"recieve": {}}, "recieve: Extra inputs"),
        ({"poll": {"url": "http://a", "since": "yesterday"}}, r"poll\.since: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why) as error:
        read(tmp_path, **changes)
    assert str(tmp_path / "node.yaml") in str(error.value)


def test_longest_ae_title_is_one() -> None:
    assert NodeSettings.model_validate(GOOD | {"ae_title": "A" * 16}).ae_title == "A" * 16
    with pytest.raises(ValidationError):
        NodeSettings.model_validate(GOOD | {"ae_title": ""})


def test_a_file_that_cant_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        read_settings(tmp_path / "missing.yaml")
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(InputError, match="must be a mapping"):
        read_settings(tmp_path / "list.yaml")
    (tmp_path / "no.yaml").write_text("a: [")
    with pytest.raises(InputError, match="is no YAML"):
        read_settings(tmp_path / "no.yaml")


def test_a_peer_without_an_address_is_named() -> None:
    with pytest.raises(InputError, match=r"'nobody\.invalid' has no address"):
        Peer(ae_title="A", host="nobody.invalid").addresses()


def test_the_documents_example_is_one_and_shows_the_defaults(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "dicom.md"
    example = page.read_text().split("```yaml\n")[1].split("```")[0]
    file = tmp_path / "node.yaml"
    file.write_text(example)
    settings = read_settings(file)
    assert settings.limits == NodeLimits()
    assert settings.poll is not None and settings.poll.modalities == ("CR", "DX")
    shown = yaml.safe_load(example)
    assert set(shown["limits"]) == set(NodeLimits.model_fields)
    assert set(shown) | {"dicom_window", "dicom_percentile"} == set(NodeSettings.model_fields)
