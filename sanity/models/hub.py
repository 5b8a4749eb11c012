"""TF Hub modules of both generations, by URL, Kaggle handle or local folder."""

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

from sanity.checked import Text, checked
from sanity.contents import Content
from sanity.errors import ConfigError, how_to_install
from sanity.files import cache_folder
from sanity.models.kinds import DETAILS, kind_of, way_out
from sanity.models.module import damage, entry
from sanity.models.source import ScaledSource

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

log = logging.getLogger(__name__)

_KAGGLE = re.compile(r"^[\w.-]+(/[\w.-]+){3,4}$")  # owner/model/framework/variation[/version]


_TF_HUB = re.compile(r"^https?://(www\.)?tfhub\.dev/")
# Where else modules are that the options name: on Kaggle, and as architectures of Keras.
_ELSEWHERE = {
    "inception_v3": (
        "google/inception-v3/tensorFlow2/classification",
        "model=keras_application model.application=InceptionV3",
    ),
    "mobilenet_v2_100_224": (
        "google/mobilenet-v2/tensorFlow2/100-224-classification",
        "model=keras_application model.application=MobileNetV2",
    ),
}


@checked
class Hub(ScaledSource):
    """A module of TF Hub: TF1 Hub format, or a TF2 SavedModel.

    Attributes:
        handle: A URL, a Kaggle handle (owner/model/framework/variation/version) or a folder.
        signature: Which one classifies; None for `image_classification` in TF1 Hub format, the
            module's own call (without training, with endpoints where it gives them) in TF2's.
    """

    handle: Text
    signature: Text | None = None

    def folder(self) -> Path:
        """Where the module lies; downloads it on first use.

        Raises:
            ConfigError: It cannot be had, or what was fetched is not whole.
        """
        return resolve(self.handle)

    def sources(self) -> dict[str, Content]:
        """A module in a folder, and the file of class names; an address counts as it is."""
        local = Path(self.handle).expanduser()
        found = super().sources()
        return {**found, "handle": local} if kind_of(local) == "saved_model" else found

    def load(self) -> "Classifier":
        """The classifier; downloads the module on first use.

        Raises:
            ConfigError: It cannot be had, is broken, or is no image classifier.
        """
        key = f"model.handle={self.handle}"
        found = entry(self.folder(), self.signature, key, call_first=True)
        return self.classifier_of(found, self.handle.rstrip("/"), key)


def hub_cache() -> Path:
    """Where downloaded modules are kept: `TFHUB_CACHE_DIR`, or in the user's cache folder."""
    return Path(os.environ.get("TFHUB_CACHE_DIR") or cache_folder() / "hub")


def resolve(handle: str) -> Path:
    """The local folder of a module, which is downloaded where needed.

    Raises:
        ConfigError: It cannot be fetched, or what was fetched is not whole.
    """
    local = Path(handle).expanduser()
    if local.is_dir():
        return local
    if "://" not in handle and kind_of(local) != "nothing":
        raise ConfigError(way_out(local, f"model.handle={handle}", "saved_model"))
    if "://" in handle:
        folder = _download(handle)
    elif _KAGGLE.match(handle):
        folder = _kaggle(handle)
    else:
        raise ConfigError(
            f"model.handle={handle} is neither a folder nor a URL nor a Kaggle handle "
            "(owner/model/framework/variation/version)"
        )
    problem = damage(folder)
    if problem:
        raise ConfigError(
            f"model.handle={handle}: the download is broken ({problem}); delete {folder} and run "
            "it again"
        )
    return folder


def _download(handle: str) -> Path:
    import tensorflow as tf
    import tensorflow_hub as hub

    os.environ["TFHUB_CACHE_DIR"] = str(hub_cache())
    hub_cache().mkdir(parents=True, exist_ok=True)
    try:
        return Path(hub.resolve(handle))
    except (OSError, ValueError, RuntimeError, EOFError, tf.errors.OpError) as error:
        raise ConfigError(
            f"model.handle={handle} cannot be fetched ({_why(error)}): {_other_ways(handle)}"
        ) from error


def _why(error: Exception) -> str:
    """What stood in the way of a download, in words."""
    log.debug("%s", error)
    code = getattr(error, "code", None) or getattr(
        getattr(error, "response", None), "status_code", None
    )
    if isinstance(code, int):
        return f"the server answers {code}"
    if isinstance(error, URLError | TimeoutError | ConnectionError):
        return "no connection"
    return f"{type(error).__name__}; {DETAILS}"


def _other_ways(handle: str) -> str:
    """How else to come by a module; TF Hub's addresses lead to Kaggle, and some end there."""
    if not _TF_HUB.match(handle):
        return (
            f"fetch {_archive(handle)} by hand, unpack it into a folder and give that as "
            "model.handle=FOLDER"
        )
    known = [ways for module, ways in _ELSEWHERE.items() if f"/{module}/" in handle]
    kaggle, keras = known[0] if known else ("OWNER/MODEL/FRAMEWORK/VARIATION", "")
    return (
        f"TF Hub's modules are on Kaggle now, so give model.handle={kaggle} (it needs "
        f"{how_to_install('kaggle')}), or download it there by hand and give the unpacked folder "
        "as model.handle=FOLDER" + (f"; Keras has that network as {keras}" if keras else "")
    )


def _archive(handle: str) -> str:
    """The address of a module's files in one archive."""
    if handle.endswith((".tar.gz", ".tgz")) or "tf-hub-format" in handle:
        return handle
    return f"{handle}{'&' if '?' in handle else '?'}tf-hub-format=compressed"


def _kaggle(handle: str) -> Path:
    try:
        import kagglehub
    except ImportError as error:
        raise ConfigError(
            f"model.handle={handle} is a Kaggle handle and needs the package kagglehub: "
            f"{how_to_install('kaggle')}"
        ) from error
    os.environ.setdefault("KAGGLEHUB_CACHE", str(cache_folder() / "kaggle"))
    try:
        return Path(kagglehub.model_download(handle))
    except Exception as error:  # kagglehub hands on whatever its HTTP library raises
        raise ConfigError(
            f"model.handle={handle} cannot be fetched ({_why(error)}): download the model's "
            "archive by hand, unpack it into a folder and give that as model.handle=FOLDER"
        ) from error
