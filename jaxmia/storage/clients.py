"""Object stores by their URL, reached as the usual variables of the environment say.

Credentials are TensorStore's matter: it looks for them where the vendors' own tools do. None goes
through here.
"""

import os
import re
from typing import Any

from jaxmia.storage.bucket import Bucket

RETRIES = {"max_retries": 12, "initial_delay": "500ms", "max_delay": "20s"}  # three minutes
SILENCE = "60"  # seconds without a byte, after which an answer is asked for again
PLACE = re.compile(r"(s3|gs)://([a-z0-9][a-z0-9._-]{1,221})/([^/\0][^\0]*?)/*")


def bucket_at(url: str, name: str) -> Bucket:
    """A folder of a bucket; raises `ValueError`, naming the option, for any other URL."""
    match = PLACE.fullmatch(url)
    if not match or not {"", ".", ".."}.isdisjoint(match[3].split("/")):
        raise ValueError(
            f"{name}: {url} is neither a path on this machine nor s3://BUCKET/FOLDER or "
            "gs://BUCKET/FOLDER"
        )
    import tensorstore as ts

    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", SILENCE)
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "1")
    spec = {"s3": _s3, "gs": _gcs}[match[1]]()
    where = {"bucket": match[2], "path": f"{match[3]}/"}
    try:
        return Bucket(
            ts.KvStore.open({**spec, **where}).result(), f"{match[1]}://{match[2]}/{match[3]}"
        )
    except ValueError as error:
        raise ValueError(f"{name}: {url} cannot be opened ({error!s:.200})") from error


def _s3() -> dict[str, Any]:
    env = os.environ
    spec: dict[str, Any] = {
        "driver": "s3",
        "use_conditional_write": True,
        "context": {"s3_request_retries": RETRIES},
    }
    if endpoint := env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL"):
        spec |= {"endpoint": endpoint, "aws_region": "us-east-1"}
    if region := env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION"):
        spec["aws_region"] = region
    if "AWS_ACCESS_KEY_ID" in env:
        spec["aws_credentials"] = {"type": "environment"}
    return spec


def _gcs() -> dict[str, Any]:
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):
        host = emulator if "://" in emulator else f"http://{emulator}"
        os.environ["TENSORSTORE_GCS_HTTP_URL"] = host
    return {"driver": "gcs", "context": {"gcs_request_retries": RETRIES}}
