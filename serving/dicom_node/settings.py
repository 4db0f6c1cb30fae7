"""The settings of a node: a YAML file, checked. Imports nothing heavy."""

from __future__ import annotations

import datetime
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from common.errors import InputError
from common.strict import Strict
from serving.settings import LOOPBACK

_AE_TITLE: Final = re.compile(
    r"[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?"
)


def _ae_title(text: str) -> str:
    if not _AE_TITLE.fullmatch(text):
        raise ValueError(
            f"{text!r} is no AE title: 1 to 16 letters of ASCII, without a backslash and without "
            "spaces at the ends"
        )
    return text


def _web_address(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError(f"{text!r} is no address of a DICOMweb server, such as https://pacs/wado")
    return text.rstrip("/")


AeTitle = Annotated[str, AfterValidator(_ae_title)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class Peer(Strict):
    """Another application entity, which the node may talk with.

    Attributes:
        ae_title: its AE title.
        host: its name or address: connections from elsewhere are refused.
        port: where it takes what is sent to it; not needed of one that only sends.
    """

    ae_title: AeTitle
    host: str
    port: Port | None = None

    def addresses(self) -> frozenset[str]:
        """Resolve the host.

        Raises:
            InputError: it has no address.
        """
        try:
            found = socket.getaddrinfo(self.host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise InputError(f"peers: {self.host!r} has no address: {error.strerror}.") from error
        return frozenset(str(entry[4][0]) for entry in found)


class Tls(Strict):
    """The files of TLS, in PEM.

    Attributes:
        certificate: the node's own, with those between it and its CA.
        key: of the certificate, without a password.
        ca: certificates of those who may have signed the peers' certificates.
    """

    certificate: Path
    key: Path
    ca: Path


class Receive(Strict):
    """The way of images that come by C-STORE.

    Attributes:
        host: address to listen on.
        port: likewise.
        senders: names of the peers that may send; all peers where None.
        tls: whether senders have to speak TLS, with a certificate of the CA.
    """

    host: str = LOOPBACK
    port: Port = 11112
    senders: tuple[str, ...] | None = None
    tls: bool = False


class Stow(Strict):
    """The way of images that DICOMweb clients send, by STOW-RS.

    Attributes:
        host: address to listen on.
        port: likewise.
        senders: names of the peers whose hosts may send; all peers where None. Their AE titles and
            ports play no part.
        authorization_file: holds what the header Authorization has to be, such as `Bearer …`.
        tls: whether senders have to speak TLS, with a certificate of the CA.
    """

    host: str = LOOPBACK
    port: Port = 8080
    senders: tuple[str, ...] | None = None
    authorization_file: Path | None = None
    tls: bool = False

    @model_validator(mode="after")
    def _no_secrets_in_clear(self) -> Stow:
        if self.authorization_file and not self.tls and self.host not in ("localhost", LOOPBACK):
            raise ValueError("authorization_file needs tls, or a host that is loopback")
        return self


class Web(Strict):
    """A DICOMweb server.

    Attributes:
        url: of the service, in front of `/studies`.
        authorization_file: holds the header Authorization, such as `Bearer …`.
    """

    url: WebAddress
    authorization_file: Path | None = None

    @model_validator(mode="after")
    def _no_secrets_in_clear(self) -> Web:
        host = self.url.split("://", 1)[1].split("/")[0].rsplit(":", 1)[0]
        near = host in ("localhost", "127.0.0.1", "[::1]")
        if self.authorization_file and self.url.startswith("http://") and not near:
            raise ValueError("authorization_file goes to https:// only, or over loopback")
        return self


class Poll(Web):
    """The way of images that are fetched from a DICOMweb server.

    Attributes:
        modalities: of the images that are asked for.
        since: first study date.
        every_s: between two looks.
    """

    modalities: tuple[str, ...] = Field(("CR", "DX"), min_length=1)
    since: datetime.date
    every_s: Seconds = 30.0


class Answer(Strict):
    """The way of results: to a peer, or to a server.

    Attributes:
        peer: name of the peer that gets them by C-STORE.
        tls: whether to speak TLS with the peer.
        web: server that gets them by STOW-RS.
        first_wait_s: before the second try, of a peer that is down; then twice as long each time.
        longest_wait_s: as far as it grows.
    """

    peer: str | None = None
    tls: bool = False
    web: Web | None = None
    first_wait_s: Seconds = 1.0
    longest_wait_s: Seconds = 300.0

    @model_validator(mode="after")
    def _one_of_them(self) -> Answer:
        if (self.peer is None) == (self.web is None):
            raise ValueError("give either peer or web")
        return self


class NodeLimits(Strict):
    """Bounds, beyond which a sender is told to come again later, or is cut off.

    Attributes:
        instances: that wait in the queue.
        queue_bytes: of images and results that wait.
        instance_bytes: of one image.
        associations: at once.
        pdu_bytes: of a piece of an image on the network.
        network_s: without a byte of a peer.
        acse_s: for a peer to open or close an association.
        dimse_s: for a peer's answer.
        stop_s: for associations to end, after SIGTERM.
        tries: of the model at one image: it fails, or the process ends meanwhile.
    """

    instances: int = Field(10_000, ge=1)
    queue_bytes: int = Field(20 * 2**30, ge=1)
    instance_bytes: int = Field(256 * 2**20, ge=1)
    associations: int = Field(10, ge=1)
    pdu_bytes: int = Field(128 * 2**10, ge=4096, le=16 * 2**20)
    network_s: Seconds = 60.0
    acse_s: Seconds = 30.0
    dimse_s: Seconds = 60.0
    stop_s: Seconds = 20.0
    tries: int = Field(5, ge=1)


class LoggedAnswers(Strict):
    """The prediction log, which is as that of `cxr serve`.

    Attributes:
        dir: folder of the log.
        sampling_rate: 0..1, the share of the images that are logged.
    """

    dir: Path
    sampling_rate: float = Field(1.0, ge=0, le=1)


class NodeSettings(Strict):
    """The settings of a node.

    Attributes:
        queue: folder of the queue on the disk.
        model_dir: the run's serving folder.
        model: its name there.
        ae_title: of the node.
        peers: name -> whom the node may talk with.
        receive: how images come; None for not by C-STORE.
        stow: how they come by DICOMweb; None for not so.
        poll: how images are fetched; None for not at all.
        answer: where results go.
        tls: files of TLS.
        dicom_window: as `cxr predict --dicom-window`; as the model learned where None.
        dicom_percentile: as `cxr predict --dicom-percentile`; likewise.
        prediction_log: where the model's answers are logged; None for nowhere.
        limits: of what is taken.
    """

    queue: Path
    model_dir: Path = Path("output/serving")
    model: str = "champion"
    ae_title: AeTitle = "CXR"
    peers: dict[str, Peer] = Field(default_factory=dict)
    receive: Receive | None = None
    stow: Stow | None = None
    poll: Poll | None = None
    answer: Answer
    tls: Tls | None = None
    dicom_window: int | None = Field(None, ge=1)
    dicom_percentile: float | None = Field(None, ge=0, lt=50)
    prediction_log: LoggedAnswers | None = None
    limits: NodeLimits = NodeLimits()

    @model_validator(mode="after")
    def _fits_together(self) -> NodeSettings:
        if self.receive is None and self.stow is None and self.poll is None:
            raise ValueError("give receive, stow or poll, or several: nothing would come")
        listening = [part for part in (self.receive, self.stow) if part is not None]
        named = [name for part in listening for name in part.senders or ()]
        if self.answer.peer is not None:
            named.append(self.answer.peer)
            peer = self.peers.get(self.answer.peer)
            if peer is not None and not peer.port:
                raise ValueError(f"peers: {self.answer.peer} needs a port, for it gets the results")
        unknown = sorted(set(named) - set(self.peers))
        if unknown:
            raise ValueError(f"peers: nobody there is called {', '.join(unknown)}")
        if any(not self.peers_of(part.senders) for part in listening):
            raise ValueError("peers: nobody may send; list who may")
        if (self.answer.tls or any(part.tls for part in listening)) and self.tls is None:
            raise ValueError("tls: give certificate, key and ca")
        return self

    def peers_of(self, senders: tuple[str, ...] | None) -> list[Peer]:
        """List the peers that `senders` means: all where None."""
        return [self.peers[name] for name in (self.peers if senders is None else senders)]


def read_settings(file: Path) -> NodeSettings:
    """Read a node's YAML; relative paths in it are relative to its folder.

    Raises:
        InputError: names each field that is wrong.
    """
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"configuration {file} can't be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"configuration {file} is no YAML: {error}") from error
    if not isinstance(given, dict):
        raise InputError(f"configuration {file}: the top must be a mapping of fields.")
    try:
        settings = NodeSettings.model_validate(given)
    except ValidationError as error:
        lines = "".join(f"\n  {_where(one)}{_said(one)}" for one in error.errors())
        raise InputError(f"configuration {file} has errors:{lines}") from error
    return _from_folder(settings, file.parent)


def _where(error: Any) -> str:
    return "".join(f"{part}: " for part in [".".join(map(str, error["loc"]))] if part)


def _said(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")


def _from_folder(part: Any, folder: Path) -> Any:
    """Put a folder in front of all relative paths."""
    changed: dict[str, Any] = {}
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, Path):
            changed[name] = folder / value.expanduser()
        elif isinstance(value, Strict):
            changed[name] = _from_folder(value, folder)
    return part.model_copy(update=changed)
