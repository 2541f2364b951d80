"""The official Python client, unmodified, against a gateway: client.py URL

Ends with an error at the first thing that is not as the client's users expect it. The major version is that of the
environment which runs it: requirements-8.txt, requirements-9.txt.
"""

import sys
import warnings

import elasticsearch
from elasticsearch import ApiError, BadRequestError, Elasticsearch, ElasticsearchWarning, NotFoundError

SPARSE = "sparse_embedding"
TEXTS = ["rain in the hills", "a train to the coast"]


def main(url: str) -> None:
    major = elasticsearch.__version__[0]
    for compress in [False, True]:
        # No retries: an answer that needs a second try is not the one that is tested.
        client = Elasticsearch(url, http_compress=compress, request_timeout=170, max_retries=0)
        live(client, f"client-python{major}-{'gzip' if compress else 'plain'}")
        client.close()
    print(f"python {elasticsearch.__versionstr__}: as expected")


def live(client: Elasticsearch, name: str) -> None:
    info = client.info()
    equal(info["tagline"], "You Know, for Search")
    equal(info.meta.headers["x-elastic-product"], "Elasticsearch")
    equal(client.ping(), True)
    expected_type = f"application/vnd.elasticsearch+json;compatible-with={elasticsearch.__version__[0]}"
    equal(info.meta.headers["content-type"], expected_type)

    # What a run that failed has left.
    for left in [name, f"{name}-elser"]:
        client.options(ignore_status=404).inference.delete(inference_id=left)

    fails(NotFoundError, 404, "resource_not_found_exception", lambda: client.inference.get(inference_id=name))
    fails(
        BadRequestError, 400, "validation_exception",
        lambda: client.inference.put(
            task_type=SPARSE, inference_id=name,
            inference_config={"service": "elser", "service_settings": {"num_allocations": 1, "num_threads": 3}},
        ),
    )

    config = {
        "service": "elasticsearch",
        "service_settings": {"model_id": ".elser_model_2", "num_allocations": 1, "num_threads": 1},
        "chunking_settings": {"strategy": "word", "max_chunk_size": 120, "overlap": 40},
    }
    created = client.inference.put(task_type=SPARSE, inference_id=name, inference_config=config, timeout="150s")
    equal(created.body, {"inference_id": name, "task_type": SPARSE, "task_settings": {}, **config})
    fails(
        BadRequestError, 400, "resource_already_exists_exception",
        lambda: client.inference.put(task_type=SPARSE, inference_id=name, inference_config=config),
    )

    equal(client.inference.get(task_type=SPARSE, inference_id=name)["endpoints"], [created.body])
    listed = [endpoint["inference_id"] for endpoint in client.inference.get()["endpoints"]]
    equal(name in listed, True)
    equal(listed, sorted(listed))

    vectors(client.inference.inference(inference_id=name, input=TEXTS, input_type="search"), 2)
    if hasattr(client.inference, "sparse_embedding"):
        vectors(client.inference.sparse_embedding(inference_id=name, input=TEXTS[0], timeout="60s"), 1)
    fails(
        BadRequestError, 400, "action_request_validation_exception",
        lambda: client.inference.inference(task_type=SPARSE, inference_id=name, input=[]),
    )

    updated = client.inference.update(
        task_type=SPARSE, inference_id=name,
        inference_config={"service": "elasticsearch", "service_settings": {"num_allocations": 2}},
    )
    equal(updated["service_settings"]["num_allocations"], 2)
    fails(
        BadRequestError, 400, "validation_exception",
        lambda: client.inference.update(
            task_type=SPARSE, inference_id=name,
            inference_config={"service": "elasticsearch", "service_settings": {"num_threads": 2}},
        ),
    )

    equal(client.inference.delete(inference_id=name, dry_run=True)["acknowledged"], False)
    equal(client.inference.delete(task_type=SPARSE, inference_id=name)["acknowledged"], True)
    fails(NotFoundError, 404, "resource_not_found_exception", lambda: client.inference.delete(inference_id=name))
    deprecated(client, f"{name}-elser")


def deprecated(client: Elasticsearch, name: str) -> None:
    """The client turns the header into a warning of Python."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ElasticsearchWarning)
        created = client.inference.put_elser(
            task_type=SPARSE, elser_inference_id=name, service="elser", timeout="150s",
            service_settings={"num_allocations": 1, "num_threads": 1},
        )
    equal(
        created.body,
        {
            "inference_id": name, "task_type": SPARSE, "service": "elser",
            "service_settings": {"num_allocations": 1, "num_threads": 1}, "task_settings": {},
        },
    )
    texts = [str(warning.message) for warning in seen if issubclass(warning.category, ElasticsearchWarning)]
    equal(any("[elser] service is deprecated" in text for text in texts), True)
    equal(client.inference.delete(inference_id=name)["acknowledged"], True)


def vectors(answer, count: int) -> None:
    equal(len(answer[SPARSE]), count)
    for entry in answer[SPARSE]:
        equal(list(entry), ["is_truncated", "embedding"])
        weights = list(entry["embedding"].values())
        equal(bool(weights) and weights == sorted(weights, reverse=True) and weights[-1] > 0, True)


def fails(kind: type[ApiError], status: int, error: str, call) -> None:
    try:
        call()
    except ApiError as refused:
        equal((type(refused), refused.meta.status, refused.error), (kind, status, error))
        equal(refused.body["error"]["root_cause"][0]["type"], error)
    else:
        raise AssertionError(f"no {error}")


def equal(given, expected) -> None:
    if given != expected:
        raise AssertionError(f"{given!r} instead of {expected!r}")


main(*sys.argv[1:])
