"""Prints the benchmark's objects as one JSON list: objects.py endpoints ENDPOINTS NAMESPACES SLO, with one model and its volume in
each namespace, of which so many in a hundred have a latency goal, or objects.py gateways COUNT PORT.
"""

import json
import sys


GATEWAYS = "bench-gateways"


def namespace(index):
    return f"bench-{index}"


def volume(index):
    name = namespace(index)
    return {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "bench",
            "hostPath": {"path": "/nowhere"},
        },
    }  # fmt: skip


def endpoint(index, namespaces, slo):
    has_goal = index % 100 < slo
    scaling = {"mode": "slo", "targetLatency": "500ms"} if has_goal else {"mode": "elasticsearch"}
    return {
        "apiVersion": "inference.lexiscale.io/v1alpha1", "kind": "InferenceEndpoint",
        "metadata": {"name": f"endpoint-{index}", "namespace": namespace(index % namespaces)},
        "spec": {
            "taskType": "sparse_embedding", "service": "elasticsearch",
            "serviceSettings": {
                "modelId": "bench", "numThreads": 1,
                "adaptiveAllocations": {"enabled": True, "minNumberOfAllocations": 1, "maxNumberOfAllocations": 4},
            },
            "deployment": {"scaling": scaling},
        },
    }  # fmt: skip


def node(index):
    return {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": f"kwok-{index}", "annotations": {"kwok.x-k8s.io/node": "fake"}},
    }  # fmt: skip


def gateway(index, port):
    """On its node already: it is the only pod that nobody has made a Deployment of."""
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": f"gateway-{index}", "namespace": GATEWAYS,
            "labels": {
                "app.kubernetes.io/name": "lexiscale", "app.kubernetes.io/part-of": "lexiscale",
                "app.kubernetes.io/component": "gateway",
            },
        },
        "spec": {
            "nodeName": "kwok-0",
            "containers": [
                {"name": "gateway", "image": "registry.invalid/gateway:1", "ports": [{"name": "admin", "containerPort": port}]}
            ],
        },
    }  # fmt: skip


def endpoints(count, namespaces, slo):
    names = [GATEWAYS, *map(namespace, range(namespaces))]
    items = [node(index) for index in range(10)]
    items += [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]
    items += [volume(index) for index in range(namespaces)]
    return items + [endpoint(index, namespaces, slo) for index in range(count)]


def gateways(count, port):
    return [gateway(index, port) for index in range(count)]


kind, *numbers = sys.argv[1:]
made = {"endpoints": endpoints, "gateways": gateways}[kind](*map(int, numbers))
json.dump({"apiVersion": "v1", "kind": "List", "items": made}, sys.stdout)
