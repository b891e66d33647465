"""Gets container images: pulls what the engine does not have, and pins what it is by its id."""

from __future__ import annotations

from shipway.domain.image_ref import ImageRef
from shipway.engines.engine import Engine, find_engine
from shipway.engines.images import get_image
from shipway.plugins.container_refusal import image_refusal, matched_image
from shipway.plugins.errors import PermanentError
from shipway.plugins.source import FetchRequest, Tree


class ImageSource:
    """The source `image`: a container image, run as it is."""

    def __init__(self) -> None:
        self._engine: Engine | None = None  # the one that answered first

    def fetch(self, request: FetchRequest) -> Tree:
        """Have the image where its container starts; the tree beside it is empty."""
        ref = ImageRef.parse(str(request.source["image"]), field="source.image")
        if why := image_refusal(request.containers, ref):
            raise PermanentError(why)
        ref = matched_image(request.containers, ref)
        digest = request.source.get("digest")
        if digest and not ref.digest:
            ref = ref.pinned(str(digest))
        engine = self._engine = self._engine or find_engine(request.env, request.containers.engine)
        facts = get_image(
            engine,
            ref,
            print=request.print,
            pull=str(request.options.get("pull") or "missing"),
            platform=request.options.get("platform"),
        )
        request.print(f"image {ref}: {facts.id} ({facts.platform})")
        empty = request.cache / "empty"
        empty.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Tree(path=empty, digest=facts.id, env={"WANDB_DOCKER": str(ref)}, image=facts.id)
