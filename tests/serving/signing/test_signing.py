"""What was signed is taken, and anything else is refused, by the name of its file."""

from __future__ import annotations

import base64
import gc
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InputError
from schema import contract
from serving.core.manager import Manager, State
from serving.core.model_config import ModelConfig
from serving.networks.cache_folder import require_private
from serving.protocol.paths import ModelRef
from serving.signing import folder as folder_module
from serving.signing.bundle import sign_digests, signed_digests
from serving.signing.errors import SignatureError
from serving.signing.folder import check_version, container_of, sealed_copy, sign_version
from serving.signing.keys import private_key_in, read_private_key, read_public_key, signing_key
from serving.signing.loading import RefusedError, load_signed
from tests.serving.fakes import Loader
from tests.serving.signing.versions import FILES, write_keys, write_version


class Signed:
    """A signed version, SERVING/m/1, and the key that proves it."""

    def __init__(self, folder: Path) -> None:
        self.private, self.public = write_keys(folder)
        self.version = write_version(folder / "serving" / "m" / "1")
        self.signature = sign_version(self.version, read_private_key(self.private))
        self.keys = [read_public_key(self.public)]


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signed:
    """With copies below a folder of the test."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(folder_module.tempfile, "tempdir", str(tmp_path / "tmp"))
    return Signed(tmp_path)


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_each_file_of_what_was_signed_is_covered(curve: ec.EllipticCurve, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path, curve=curve)
    version = write_version(tmp_path / "1")
    file = sign_version(version, read_private_key(private))
    assert file == version / contract.MODEL_SIGNATURE_FILE
    keys = [read_public_key(public)]
    assert set(signed_digests(file.read_bytes(), keys)) == set(FILES)
    assert check_version(version, keys) == len(FILES)
    # Signed again, the signature covers the same: it ignores itself.
    sign_version(version, read_private_key(private))
    assert check_version(version, keys) == len(FILES)
    moved = version.rename(tmp_path / "2")
    assert check_version(moved, keys) == len(FILES)


def _change(version: Path, name: str) -> None:
    content = bytearray((version / name).read_bytes())
    content[0] ^= 1
    (version / name).write_bytes(content)


def _swap(version: Path, name: str) -> None:
    (version / name).unlink()
    (version / name).symlink_to("/etc/hostname")


def _to_folder_outside(version: Path, name: str) -> None:
    folder = version / "variables"
    outside = version.parent.parent / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)


def _pipe(version: Path, name: str) -> None:
    os.mkfifo(version / name)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (_change, "saved_model.pb"),
        (_change, "variables/variables.data-00000-of-00001"),
        (_change, "assets.extra/model_card.json"),
        (lambda v, n: (v / n).write_bytes(b"x"), "variables/variables.index"),
        (lambda v, n: (v / n).write_bytes(b""), "assets.extra/added"),
        (lambda v, n: (v / n).write_bytes(b""), ".added"),
        (lambda v, n: (v / n).unlink(), ".hidden"),
        (lambda v, n: (v / n).rename(v / "renamed"), "good"),
        (_swap, "good"),
        (_to_folder_outside, "variables"),
        (_pipe, "pipe"),
    ],
)
@pytest.mark.parametrize("look", [check_version, sealed_copy])
def test_any_change_is_refused_by_the_name_of_the_file(
    change: Callable[[Path, str], None], name: str, look: Callable, signed: Signed, tmp_path: Path
) -> None:
    change(signed.version, name)
    with pytest.raises(SignatureError, match=name.replace(".", r"\.")):
        look(signed.version, signed.keys)
    assert not list((tmp_path / "tmp").iterdir())


def test_each_bit_of_a_small_file_counts(signed: Signed) -> None:
    file = signed.version / "saved_model.pb"
    good = file.read_bytes()
    for place in range(8 * len(good)):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        file.write_bytes(bad)
        with pytest.raises(SignatureError, match=r"not as it was signed: saved_model\.pb"):
            check_version(signed.version, signed.keys)


def test_without_a_signature(signed: Signed) -> None:
    signed.signature.unlink()
    with pytest.raises(SignatureError, match="isn't signed"):
        check_version(signed.version, signed.keys)


def test_the_signature_of_another_version(signed: Signed, tmp_path: Path) -> None:
    other = write_version(tmp_path / "2")
    (other / "saved_model.pb").write_bytes(b"other")
    sign_version(other, read_private_key(signed.private))
    shutil.copy(other / contract.MODEL_SIGNATURE_FILE, signed.signature)
    with pytest.raises(SignatureError, match=r"not as it was signed: saved_model\.pb"):
        check_version(signed.version, signed.keys)


def test_a_signature_that_is_a_link_or_endless(signed: Signed, tmp_path: Path) -> None:
    moved = signed.signature.rename(tmp_path / "moved.sig")
    signed.signature.symlink_to(moved)
    with pytest.raises(SignatureError, match="symbolic link"):
        check_version(signed.version, signed.keys)
    signed.signature.unlink()
    with signed.signature.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(SignatureError, match="too long"):
        check_version(signed.version, signed.keys)


def test_keys_may_be_rotated(signed: Signed, tmp_path: Path) -> None:
    new_private, new_public = write_keys(tmp_path, "new", ec.SECP384R1())
    new = read_public_key(new_public)
    with pytest.raises(SignatureError, match="none of the given keys"):
        check_version(signed.version, [new])
    assert check_version(signed.version, [new, *signed.keys])
    sign_version(signed.version, read_private_key(new_private))
    assert check_version(signed.version, [*signed.keys, new])
    with pytest.raises(SignatureError, match="none of the given keys"):
        check_version(signed.version, signed.keys)


@pytest.mark.parametrize("closed", [True, False])
def test_what_is_loaded_is_what_was_checked(closed: bool, signed: Signed, tmp_path: Path) -> None:
    """Whoever changes the folder right behind the check changes nothing of what is loaded."""
    before = _contents(signed.version)
    seen: list[dict[str, bytes]] = []
    modes: list[int] = []

    def swap() -> None:
        shutil.rmtree(signed.version)
        (signed.version.parent.parent / ".networks").mkdir()
        write_version(signed.version)
        (signed.version / "saved_model.pb").write_bytes(b"evil")

    loader = Loader()

    def load(copy: Path) -> object:
        seen.append(_contents(copy))
        modes.append(stat.S_IMODE(container_of(copy).stat().st_mode))
        # Converted networks beside the versions aren't signed, and aren't beside the copy.
        assert not (copy.parent.parent / ".networks").exists()
        assert copy.parts[-2:] == ("m", "1")
        return loader(copy)

    servable = load_signed(signed.version, signed.keys, load, checked=swap)  # type: ignore[arg-type]
    assert seen == [before]
    assert modes == [0o700]
    # The copy goes with the servable, and not before.
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    loader.servables.clear()
    if closed:
        servable.close()
        servable.close()
    else:
        del servable
        gc.collect()
    assert not list((tmp_path / "tmp").iterdir())


def test_a_swap_between_the_reading_of_two_files_is_seen(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = folder_module._digest

    def digest(source: Path, copy: Path | None = None) -> str:
        if source.name == "saved_model.pb":
            source.write_bytes(b"evil!")
        return plain(source, copy)

    monkeypatch.setattr(folder_module, "_digest", digest)
    with pytest.raises(SignatureError, match=r"not as it was signed: saved_model\.pb"):
        sealed_copy(signed.version, signed.keys)


def test_a_copy_that_cant_be_loaded_is_removed(signed: Signed, tmp_path: Path) -> None:
    def load(copy: Path) -> object:
        raise OSError("damaged")

    with pytest.raises(OSError, match="damaged"):
        load_signed(signed.version, signed.keys, load)  # type: ignore[arg-type]
    assert not list((tmp_path / "tmp").iterdir())


def test_a_server_says_why_it_doesnt_load_and_loads_once_it_is_mended(signed: Signed) -> None:
    manager = Manager(lambda path: load_signed(path, signed.keys, Loader()))
    manager.configure({"m": ModelConfig("m", signed.version.parent)})
    good = (signed.version / "saved_model.pb").read_bytes()
    (signed.version / "saved_model.pb").write_bytes(b"evil")
    manager.reconcile()
    (status,) = manager.status(ModelRef("m"))
    assert status.state == State.END
    assert isinstance(status.error, RefusedError)
    assert "signature is required" in status.error.message
    assert "saved_model.pb" in status.error.message
    assert not manager.reconcile()
    (signed.version / "saved_model.pb").write_bytes(good)
    assert manager.reconcile()
    with manager.borrow(ModelRef("m")) as lent:
        assert lent.version == 1
    # A version that is better by its number alone changes nothing.
    write_version(signed.version.parent / "2")
    manager.reconcile()
    with manager.borrow(ModelRef("m")) as lent:
        assert lent.version == 1


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        st.text("0123456789abcdef", min_size=64, max_size=64),
    )
)
@settings(max_examples=50)
def test_a_list_comes_back_as_it_was_signed(digests: dict[str, str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    text = sign_digests(digests, "m", key)
    assert signed_digests(text.encode(), [key.public_key()]) == digests


KEY = ec.generate_private_key(ec.SECP256R1())
TEXT = sign_digests({"saved_model.pb": "0" * 64}, "1", KEY)


@given(st.data())
@settings(max_examples=300)
def test_damaged_signatures_are_refused_in_words(data: st.DataObject) -> None:
    content = bytearray(TEXT.encode())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    try:
        digests = signed_digests(bytes(content), [KEY.public_key()])
    except SignatureError:
        return
    # What isn't signed (white space, the hint) may differ; the list may not.
    assert digests == {"saved_model.pb": "0" * 64}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1"),
        ("predicateType", "https://slsa.dev/provenance/v1"),
        ("subject", []),
        ("predicate", {"serialization": {"method": "shards", "hash_type": "sha256"}}),
        ("predicate", {"serialization": {"method": "files", "hash_type": "blake3"}}),
    ],
)
def test_another_statement_by_the_same_key_is_no_signature_of_a_model(
    field: str, value: object
) -> None:
    envelope = json.loads(TEXT)["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    with pytest.raises(SignatureError):
        signed_digests(_resigned({**statement, field: value}), [KEY.public_key()])
    assert signed_digests(_resigned(statement), [KEY.public_key()])


def _resigned(statement: object) -> bytes:
    from serving.signing.bundle import _pae
    from serving.signing.keys import digest_for

    bundle = json.loads(TEXT)
    payload = json.dumps(statement).encode()
    signature = KEY.sign(_pae(payload), ec.ECDSA(digest_for(KEY.public_key())))
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(bundle).encode()


def test_a_list_with_a_file_twice_contradicts_itself() -> None:
    statement = json.loads(base64.b64decode(json.loads(TEXT)["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"] *= 2
    with pytest.raises(SignatureError, match="contradicts"):
        signed_digests(_resigned(statement), [KEY.public_key()])


def test_a_key_that_cant_be_used_is_named_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key.pem"
    file.write_text("-----BEGIN EC PRIVATE KEY-----\nTOPSECRET\n-----END EC PRIVATE KEY-----\n")
    with pytest.raises(InputError, match=r"key\.pem") as caught:
        read_private_key(file)
    assert "TOPSECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(InputError, match=r"no\.pem"):
        read_public_key(tmp_path / "no.pem")
    private, public = write_keys(tmp_path, "k1", ec.SECP256K1())
    for read, path in ((read_private_key, private), (read_public_key, public)):
        with pytest.raises(InputError, match="secp256k1"):
            read(path)
    with pytest.raises(InputError, match="no private key"):
        read_private_key(public)
    monkeypatch.delenv("SIGN", raising=False)
    with pytest.raises(InputError, match="SIGN"):
        private_key_in("SIGN")
    good, _ = write_keys(tmp_path)
    monkeypatch.setenv("SIGN", good.read_text())
    assert private_key_in("SIGN").curve.name == "secp256r1"
    with pytest.raises(InputError, match="not both"):
        signing_key(good, "SIGN")
    assert signing_key(None, None) is None


def test_a_cache_that_others_may_write_to_is_none_for_who_asks_for_signatures(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "networks"
    require_private(folder)
    folder.mkdir(mode=0o700)
    require_private(folder)
    folder.chmod(0o770)
    with pytest.raises(InputError, match="network-cache"):
        require_private(folder)
