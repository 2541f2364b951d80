"""Prints the benchmark's objects as one JSON list: objects.py ENDPOINTS NAMESPACES. One model and its volume in each namespace."""

import json
import sys


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


def endpoint(index, namespaces):
    return {
        "apiVersion": "inference.lexiscale.io/v1alpha1", "kind": "InferenceEndpoint",
        "metadata": {"name": f"endpoint-{index}", "namespace": namespace(index % namespaces)},
        "spec": {
            "taskType": "sparse_embedding", "service": "elasticsearch",
            "serviceSettings": {
                "modelId": "bench", "numThreads": 1,
                "adaptiveAllocations": {"enabled": True, "minNumberOfAllocations": 1, "maxNumberOfAllocations": 4},
            },
        },
    }  # fmt: skip


def node(index):
    return {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": f"kwok-{index}", "annotations": {"kwok.x-k8s.io/node": "fake"}},
    }  # fmt: skip


def main(endpoints, namespaces):
    items = [node(index) for index in range(10)]
    items += [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(index)}} for index in range(namespaces)]
    items += [volume(index) for index in range(namespaces)]
    items += [endpoint(index, namespaces) for index in range(endpoints)]
    json.dump({"apiVersion": "v1", "kind": "List", "items": items}, sys.stdout)


main(int(sys.argv[1]), int(sys.argv[2]))
