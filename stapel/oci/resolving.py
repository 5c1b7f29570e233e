"""What a name means in its registry now, where no image is wanted."""

from __future__ import annotations

from collections.abc import Callable

from stapel.oci.reference import DEFAULT_TAG, parse_reference
from stapel.oci.registry import RegistryStore
from stapel.oci.retries import Retries


def resolve_digest(
    reference_text: str,
    *,
    docker_config: str | None = None,
    insecure: bool = False,
    skip_tls_verify: bool = False,
    platform: str = "",
    on_retry: Callable[[str], None] | None = None,
    retries: Retries | None = None,
) -> str:
    """What digest a reference has in its registry now (`:latest` where nothing is written).

    With `platform` the digest of that platform's manifest where the registry has an index. `NotFound`, `Unreachable`,
    `BadReference`. A digest written in the text is returned as it is, and nobody asked, where no platform is given.
    """
    reference = parse_reference(reference_text)
    if reference.digest and not platform:
        return reference.digest
    store = RegistryStore(
        reference.repository_text,
        docker_config=docker_config,
        insecure=insecure,
        skip_tls_verify=skip_tls_verify,
        on_retry=on_retry,
        retries=retries,
    )
    wanted = reference.digest or reference.tag or DEFAULT_TAG
    return store.get(wanted, platform).descriptor.digest if platform else store.digest_of(wanted)
