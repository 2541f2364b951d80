"""Answers for the gateways and workers that KWOK plays: loads.py ENDPOINTS NAMESPACES WORKER-PORT GATEWAY-PORT.

Every endpoint has a request every five seconds at each gateway, of 50 ms: one allocation is enough, and nothing is to change.
Workers have no requests of their own. Listens on all addresses of the loopback device, and on no other.
"""

import asyncio
import json
import socket
import sys
import time

RATE = 0.2
SERVICE = 0.05
START = time.monotonic()


def gateway(endpoints, namespaces):
    uptime = time.monotonic() - START
    count = int(uptime * RATE)
    counters = {
        "arrivals": count, "completed": count, "serviceTime": count * SERVICE, "serviceTimeSquares": count * SERVICE**2,
        "queueTime": 0.0, "latency": count * SERVICE, "idle": uptime % (1 / RATE),
    }  # fmt: skip
    of = [{"namespace": f"bench-{index % namespaces}", "name": f"endpoint-{index}", **counters} for index in range(endpoints)]
    return {"instance": "gateway", "uptime": uptime, "endpoints": of}


def worker():
    return {"instance": "worker", "uptime": time.monotonic() - START}


class Server(asyncio.Protocol):
    def __init__(self, document):
        self.document, self.received = document, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data
        while b"\r\n\r\n" in self.received:
            _, self.received = self.received.split(b"\r\n\r\n", 1)
            body = json.dumps(self.document()).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            self.transport.write(head.encode() + body)


def listen(port):
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    listening.bind(("0.0.0.0", port))
    listening.listen(2048)
    return listening


async def main(endpoints, namespaces, worker_port, gateway_port):
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Server(worker), sock=listen(worker_port))
    await loop.create_server(lambda: Server(lambda: gateway(endpoints, namespaces)), sock=listen(gateway_port))
    await asyncio.Event().wait()


asyncio.run(main(*map(int, sys.argv[1:])))
