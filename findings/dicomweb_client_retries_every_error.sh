#!/usr/bin/env bash
# dicomweb-client: what can't heal is tried five times, with half a minute of waiting.
#
# Software:  dicomweb-client 0.61.2, `DICOMwebClient`, with retrying 1.4.2 and requests 2.32.5.
# Guess:     as `set_http_retry_params` says, an answer with one of the retriable codes (408, 429, 503, 504)
#            is tried again; a server whose certificate nobody trusts is refused at once.
# Behaviour: every exception is tried again, as often as those codes. A certificate that is refused costs
#            five handshakes, and waits of 2, 4, 8 and 16 s between them by default. Only `retry=False`
#            ends it at the first, and then codes aren't tried again either.
# Valid:     TLS with a private CA is what a PACS in a hospital has; its client is told which CA to trust.
# Matters:   a wrong path to the CA looks like a server that hangs. And a POST whose answer got lost is
#            sent again, up to five times.
# Here:      `retry=False`; the node itself tries again what its queue on the disk holds.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    dicomweb-client==0.61.2 retrying==1.4.2 requests==2.32.5 trustme==1.2.1 numpy==2.1.3
cd "$folder"
venv/bin/python - <<'PYTHON'
import importlib.metadata
import socket
import ssl
import threading
import time

import requests
import trustme
from dicomweb_client.api import DICOMwebClient

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
listening = socket.create_server(("127.0.0.1", 0))
refused = []


def serve():
    while True:
        connection, _ = listening.accept()
        try:
            context.wrap_socket(connection, server_side=True).close()
        except (ssl.SSLError, OSError) as error:
            refused.append(error)


threading.Thread(target=serve, daemon=True).start()
url = f"https://127.0.0.1:{listening.getsockname()[1]}"
print("dicomweb-client", importlib.metadata.version("dicomweb-client"))
found = {}
for retry in (True, False):
    client = DICOMwebClient(url)
    # Waits as short as they can be; by default the multiplier is 1000 ms.
    client.set_http_retry_params(retry, wait_exponential_multiplier=1)
    before = len(refused)
    try:
        client.search_for_studies()
        raise SystemExit("the certificate was trusted")
    except requests.exceptions.SSLError:
        pass
    time.sleep(0.5)
    found[retry] = len(refused) - before
    print(f"retry={retry}: {found[retry]} handshakes refused")
assert found == {True: 5, False: 1}, found
PYTHON
