"""A publisher and a receiver made with the CloudEvents SDK: publishes awkward events in every mode, and gets them back.

Usage: events.py HTTP. Writes the port that it receives on, publishes, and waits until each event has come to /binary and to
/structured as it was published. Ends with 0 if they have.
"""

import json
import sys
import threading
from datetime import datetime, timedelta, timezone
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cloudevents.core.bindings.http import HTTPMessage, from_http, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

SINK = "/namespaces/shop/producers/orders"
PATIENCE = 30
FORMAT = JSONFormat()


def event(name, data, **more):
    attributes = {"id": name, "source": "https://till.example/3?a=b#c", "type": "shop.order.paid", "specversion": "1.0"}
    return CloudEvent({**attributes, **more}, data)


def events():
    """What trips codecs: every script, every kind of data, times with a zone and with fractions."""
    berlin = timezone(timedelta(hours=2))
    return [
        event("plain", {"n": 1}, datacontenttype="application/json"),
        event("scripts", {"ü": "€ 😀"}, datacontenttype="application/json", subject='Euro € 😀 "100%" \\ ~'),
        event("zone", None, time=datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=berlin)),
        event("utc", None, time=datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc), dataschema="https://schemas.example/a#b"),
        event("text", "line one\nline two\t€", datacontenttype="text/plain;charset=utf-8"),
        event("bytes", bytes(range(256)), datacontenttype="application/octet-stream"),
        event("key", {"list": [1, 2.5, None, True]}, datacontenttype="application/vnd.a+json", partitionkey="ada 7"),
        event("extensions", {}, datacontenttype="application/json", tenant="a;b,c=d", traceid="%20%"),
    ]


def same(one, other):
    """What an event is, in a form that can be compared."""
    attributes = dict(one.get_attributes()), dict(other.get_attributes())
    return attributes[0] == attributes[1] and one.get_data() == other.get_data()


def post(http, path, headers, body):
    # Not urllib: it declares a form where nobody declared anything.
    connection = HTTPConnection(http, timeout=PATIENCE)
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    if answer.status != 202:
        sys.exit(f"{path} answered {answer.status} {answer.read()}")
    return answer.read()


def publish(http):
    """Each event in binary and in structured mode, and all of them in a batch; the sum of what is to come."""
    published = {}

    def named(event, mode):
        attributes = dict(event.get_attributes())
        attributes["id"] = f"{mode}-{attributes['id']}"
        published[attributes["id"]] = CloudEvent(attributes, event.get_data())
        return published[attributes["id"]]

    for event in events():
        message = to_binary(named(event, "binary"), FORMAT)
        post(http, SINK, message.headers, message.body)
        message = to_structured(named(event, "structured"), FORMAT)
        receipt = json.loads(post(http, f"{SINK}/events", message.headers, message.body))
        if receipt["id"] not in published:
            sys.exit(f"a receipt for {receipt}")
    batch = b"[" + b",".join(FORMAT.write(named(event, "batch")) for event in events()) + b"]"
    post(http, SINK, {"content-type": "application/cloudevents-batch+json"}, batch)
    return published


class Receiver(BaseHTTPRequestHandler):
    """Reads each delivery with the SDK."""

    protocol_version = "HTTP/1.1"
    came = {"/binary": {}, "/structured": {}}
    changed = threading.Condition()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            event = from_http(HTTPMessage(dict(self.headers.items()), body), FORMAT)
            told = None
        except Exception as error:
            event, told = None, repr(error)
        with self.changed:
            if event is not None:
                self.came[self.path][event.get_id()] = event
            else:
                self.came[self.path][told] = None
            self.changed.notify_all()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    (http,) = sys.argv[1:]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    published = publish(http)
    with Receiver.changed:
        whole = Receiver.changed.wait_for(lambda: all(len(came) >= len(published) for came in Receiver.came.values()), PATIENCE)
    for path, came in Receiver.came.items():
        missing = sorted(published.keys() - came.keys())
        if missing or not whole:
            sys.exit(f"{path}: missing {missing}, came {sorted(came)}")
        for name, event in published.items():
            if not same(event, came[name]):
                sys.exit(f"{path} {name}: {came[name].get_attributes()} {came[name].get_data()!r}, not {event.get_attributes()} {event.get_data()!r}")


main()
