"""A day with the Python client that openapi-python-client makes: every operation once, by its own types.

    python day.py URL CA CERTIFICATE KEY

Run by the interpreter that has httpx, with the generated package `sre_client` on its path; nothing of this checkout is
imported. Ends with 0 if all was as promised.
"""

import ssl
import sys
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from sre_client import Client
from sre_client.api.deployments import (
    end_temporary,
    get_deployment,
    get_permissions,
    get_replicas,
    get_temporary,
    list_changes,
    list_changes_of_deployment,
    list_deployments,
    list_deployments_of_namespace,
    list_temporary,
    plan_replicas,
    set_replicas,
    set_temporary,
)
from sre_client.api.namespaces import (
    get_all_replica_counts,
    get_namespace_replica_counts,
    get_replica_count,
    list_all_deployments,
    list_namespace_deployments,
    list_namespaces,
    set_replica_count,
)
from sre_client.api.operations import livez, metrics, openapi, readyz
from sre_client.models import Confirmation, DesiredCount, Error, SetTemporaryBody
from sre_client.types import Response

CART = ("shop", "cart")


def expect(what: str, found: object, wanted: object) -> None:
    """End the day unless these are the same."""
    if found != wanted:
        sys.exit(f"{what}: {found!r} and not {wanted!r}")


def succeeded(response: Response[Any], status: HTTPStatus = HTTPStatus.OK) -> Any:
    """Return what an answer of this status has, as the generated type."""
    expect("status", response.status_code, status)
    return response.parsed


def refused(response: Response[Any], status: HTTPStatus, said: str) -> None:
    """Check that an answer is an error of this status, with a message that has this in it."""
    expect("status", response.status_code, status)
    expect("type", type(response.parsed), Error)
    expect(f"{said!r} in {response.parsed.message!r}", said in response.parsed.message, True)


def lists(client: Client) -> None:
    """What there is, in both families; unchanged lists are not sent again."""
    first = list_deployments.sync_detailed(client=client)
    shop = next(each for each in succeeded(first) if each.namespace == "shop")
    expect("cart is listed", "cart" in shop.deployments, True)
    again = list_deployments.sync_detailed(client=client, if_none_match=first.headers["ETag"])
    expect("again", (again.status_code, again.parsed), (HTTPStatus.NOT_MODIFIED, None))
    (alone,) = succeeded(list_deployments_of_namespace.sync_detailed("shop", client=client))
    expect("shop alone", alone, shop)
    missing = list_deployments_of_namespace.sync_detailed("nowhere", client=client)
    refused(missing, HTTPStatus.NOT_FOUND, "nowhere")

    expect("a namespace", "shop" in succeeded(list_namespaces.sync_detailed(client=client)).namespaces, True)
    expect("shop in /namespaces", succeeded(list_namespace_deployments.sync_detailed("shop", client=client)), shop)
    expect("shop of ANY", shop in succeeded(list_all_deployments.sync_detailed(client=client)), True)
    refused(list_namespace_deployments.sync_detailed("nowhere", client=client), HTTPStatus.GONE, "nowhere")
    counts = succeeded(get_namespace_replica_counts.sync_detailed("shop", client=client))
    expect("counts of ANY", counts in succeeded(get_all_replica_counts.sync_detailed(client=client)), True)
    (cart,) = (each for each in counts.deployments if each.deployment == "cart")
    single = succeeded(get_replica_count.sync_detailed(*CART, client=client))
    expect("count", single.replica_count, cart.replica_count)


def counts(client: Client) -> None:
    """Read, write, and write only if nobody else has; what is refused says why."""
    before = get_replicas.sync_detailed(*CART, client=client)
    tag, count = before.headers["ETag"], succeeded(before).replicas
    again = get_replicas.sync_detailed(*CART, client=client, if_none_match=tag)
    expect("again", (again.status_code, again.parsed), (HTTPStatus.NOT_MODIFIED, None))

    body = DesiredCount(replicas=count + 1)
    written = set_replicas.sync_detailed(*CART, client=client, body=body, x_reason="a busy day")
    succeeded(written)
    version = written.headers["X-Resource-Version"]
    after = get_replicas.sync_detailed(*CART, client=client, x_min_resource_version=version)
    expect("what was written", succeeded(after).replicas, count + 1)

    stale = set_replicas.sync_detailed(*CART, client=client, body=DesiredCount(replicas=count), if_match=tag)
    refused(stale, HTTPStatus.PRECONDITION_FAILED, str(count + 1))
    expect("the tag of a 412", stale.headers["ETag"], after.headers["ETag"])
    body = DesiredCount(replicas=count)
    succeeded(set_replicas.sync_detailed(*CART, client=client, body=body, if_match=stale.headers["ETag"]))

    few = DesiredCount(replicas=2)
    kept = set_replicas.sync_detailed("shop", "storefront", client=client, body=few)
    refused(kept, HTTPStatus.UNPROCESSABLE_ENTITY, "confirm=autoscaler")
    confirmed = [Confirmation.AUTOSCALER]
    succeeded(set_replicas.sync_detailed("shop", "storefront", client=client, body=few, confirm=confirmed))
    refused(get_replicas.sync_detailed("shop", "nothing", client=client), HTTPStatus.NOT_FOUND, "nothing")
    refused(get_replicas.sync_detailed("shop", "No_Name", client=client), HTTPStatus.BAD_REQUEST, "No_Name")
    expect(
        "RFD 1's write", succeeded(set_replica_count.sync_detailed(*CART, count, client=client)).replica_count, count
    )
    gone = set_replica_count.sync_detailed("shop", "nothing", 1, client=client)
    refused(gone, HTTPStatus.GONE, "nothing")


def around(client: Client) -> None:
    """What a count alone does not say: the whole picture, what came of a write, who changed what, and who may."""
    since = datetime.now(UTC) - timedelta(hours=1)
    body = DesiredCount(replicas=5)
    waited = set_replicas.sync_detailed(*CART, client=client, body=body, prefer="wait=60", x_request_id="day-1")
    expect("outcome", (succeeded(waited).outcome.value, waited.parsed.replicas), ("available", 5))
    expect("what was waited for", waited.headers["Preference-Applied"], "wait=60")
    seen = get_deployment.sync_detailed(*CART, client=client)
    picture = succeeded(seen)
    expect("picture", (picture.replicas, picture.ready, picture.rollout, picture.autoscaler), (5, 5, "steady", None))
    expect("the last change", (picture.last_change.by, picture.last_change.request_id), ("alice", "day-1"))
    same = get_deployment.sync_detailed(*CART, client=client, if_none_match=seen.headers["ETag"], prefer="wait=1")
    expect("no news", (same.status_code, same.parsed), (HTTPStatus.NOT_MODIFIED, None))
    scaled = succeeded(get_deployment.sync_detailed("shop", "storefront", client=client)).autoscaler
    expect(
        "autoscaler",
        (scaled.kind, scaled.name, scaled.min_, scaled.max_),
        ("HorizontalPodAutoscaler", "storefront", 3, 10),
    )

    changes = succeeded(list_changes_of_deployment.sync_detailed(*CART, client=client)).changes
    expect("the newest of its changes", changes[-1], picture.last_change)
    expect(
        "changes since then",
        changes[-1] in succeeded(list_changes.sync_detailed(client=client, since=since)).changes,
        True,
    )
    undone = DesiredCount(replicas=changes[-1].before)
    succeeded(set_replicas.sync_detailed(*CART, client=client, body=undone, if_match=changes[-1].etag))

    more = DesiredCount(replicas=undone.replicas + 1)
    planned = plan_replicas.sync_detailed(*CART, client=client, body=more)
    expect("plan", succeeded(planned).verdict.value, "will hold")
    succeeded(set_replicas.sync_detailed(*CART, client=client, body=more, if_match=planned.headers["ETag"]))
    late = set_replicas.sync_detailed(*CART, client=client, body=more, if_match=planned.headers["ETag"])
    refused(late, HTTPStatus.PRECONDITION_FAILED, "its count is")
    doomed = plan_replicas.sync_detailed("shop", "storefront", client=client, body=DesiredCount(replicas=1))
    expect("a plan that is refused", succeeded(doomed).verdict.value, "is refused")
    expect("the worst finding", doomed.parsed.findings[0].about.value, "guardrail")

    may = succeeded(get_permissions.sync_detailed(*CART, client=client))
    expect("permissions", (may.identity, may.read.allowed, may.scale.allowed), ("alice", True, True))


def for_a_time(client: Client) -> None:
    """A count with an end, which is put off and then comes at once."""
    count = succeeded(get_replicas.sync_detailed(*CART, client=client)).replicas
    body = SetTemporaryBody(replicas=count + 2, for_="2h")
    made = succeeded(set_temporary.sync_detailed(*CART, client=client, body=body, x_reason="sale"), HTTPStatus.CREATED)
    expect("temporary", (made.replicas, made.original, made.by, made.reason), (count + 2, count, "alice", "sale"))
    body = SetTemporaryBody(replicas=count + 2, for_="3h")
    put_off = succeeded(set_temporary.sync_detailed(*CART, client=client, body=body))
    expect("put off", (put_off.original, put_off.until > made.until), (count, True))
    one = succeeded(get_temporary.sync_detailed(*CART, client=client))
    expect("its end", one.until, put_off.until)
    expect("all of them", succeeded(list_temporary.sync_detailed(client=client)).temporary, [one])
    picture = succeeded(get_deployment.sync_detailed(*CART, client=client))
    expect("in the picture", picture.temporary.until, one.until)
    expect("ended", succeeded(end_temporary.sync_detailed(*CART, client=client)).replicas, count)
    refused(get_temporary.sync_detailed(*CART, client=client), HTTPStatus.NOT_FOUND, "temporary")


def operations(client: Client) -> None:
    """What probes, Prometheus and this client's own generator ask for."""
    succeeded(livez.sync_detailed(client=client))
    succeeded(readyz.sync_detailed(client=client))
    succeeded(metrics.sync_detailed(client=client))
    expect("document", succeeded(openapi.sync_detailed(client=client)).openapi, "3.1.0")


def main(url: str, authority: str, certificate: str, key: str) -> None:
    """Do all of it over one connection."""
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(certificate, key)
    with Client(base_url=url, verify_ssl=context, timeout=90, raise_on_unexpected_status=True) as client:
        for part in (lists, counts, around, for_a_time, operations):
            part(client)


if __name__ == "__main__":
    main(*sys.argv[1:])
