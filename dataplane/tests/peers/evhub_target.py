"""An EvHub consumer with stubs from protoc: receives dispatches over HTTP JSON and gRPC, and answers as consumers do.

Usage: evhub_target.py PROTOS COUNT. Writes its HTTP port and its gRPC port. For each of them it expects COUNT events whose
data says what to answer: `take` is taken, `later` fails once and gives something back, which must come with the next
attempt, and `cancel` is cancelled for good. Each must come from the source that belongs to its data. Ends with 0 once all have
come as they should.
"""

import base64
import json
import sys
import tempfile
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from grpc_tools import protoc

PATIENCE = 30
BACK = b"where I was \x00\xff"
# What publishers call themselves, be it a URI or not.
SOURCES = {"take": "till/3", "later": "10.0.0.1:8080", "cancel": "100% 收银台"}


def stubs(protos):
    out = tempfile.mkdtemp(prefix="evhub-stubs-")
    files = ["comm/comm.proto", "processor/processor.proto"]
    include = protoc.__file__.rsplit("/", 1)[0] + "/_proto"
    arguments = ["protoc", f"-I{protos}", f"-I{include}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main(arguments + files) != 0:
        sys.exit("protoc failed")
    sys.path.insert(0, out)
    from comm import comm_pb2
    from processor import processor_pb2, processor_pb2_grpc

    return comm_pb2, processor_pb2, processor_pb2_grpc


class Seen:
    """What came one way, and what is wrong with it."""

    def __init__(self, name, count):
        self.name, self.count = name, count
        self.attempts, self.done, self.wrong = {}, set(), []
        self.changed = threading.Condition()

    def hear(self, request):
        """The answer to a dispatch: a code, and what is given back."""
        with self.changed:
            id, data = request["event_id"], request["data"].decode()
            before = self.attempts.get(id, 0)
            self.attempts[id] = before + 1
            answer = 0, b""
            if request["retry_times"] != before:
                self.wrong.append(f"{data}: retry_times {request['retry_times']} after {before} attempts")
            if request["pass_back"] != (BACK if data == "later" and before else b""):
                self.wrong.append(f"{data}: pass_back {request['pass_back']!r} with attempt {before + 1}")
            if (request["app_id"], request["topic_id"]) != ("shop", "orders"):
                self.wrong.append(f"{data}: for {request['app_id']} {request['topic_id']}")
            if request["tags"] != ["paid"] or request["source"] != SOURCES[data] or request["seconds"] != 1:
                self.wrong.append(f"{data}: {request}")
            if data == "later" and before == 0:
                answer = 7, BACK
            else:
                self.done.add(id)
                if data == "cancel":
                    answer = 30000, b""
                if before and data != "later":
                    self.wrong.append(f"{data}: attempt {before + 1}")
            self.changed.notify_all()
            return answer

    def wait(self):
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.done) >= self.count, PATIENCE):
                sys.exit(f"{self.name}: {len(self.done)} of {self.count} are done, {self.attempts}, {self.wrong}")
            if self.wrong:
                sys.exit(f"{self.name}: {self.wrong}")


def over_http(seen):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            event = body["event"]
            comm = event["event_comm"]
            code, back = seen.hear(
                {
                    "event_id": body["event_id"],
                    "data": base64.b64decode(event["data"]),
                    "retry_times": body.get("retry_times", 0),
                    "pass_back": base64.b64decode(body.get("pass_back", "")),
                    "app_id": event["app_id"],
                    "topic_id": event["topic_id"],
                    "tags": comm["event_tag"]["tag_list"],
                    "source": comm["event_source"]["source"],
                    "seconds": comm["event_source"]["create_time"]["seconds"],
                }
            )
            answer = {"ret": {"code": code, "msg": "said by a consumer"}} if code else {"ret": {}}
            if back:
                answer["pass_back"] = base64.b64encode(back).decode()
            answer = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def over_grpc(seen, comm, processor, services):
    class Servicer(services.evhubProcessorServicer):
        def Dispatch(self, request, context):
            event = request.event
            source = event.event_comm.event_source
            code, back = seen.hear(
                {
                    "event_id": request.event_id,
                    "data": event.data,
                    "retry_times": request.retry_times,
                    "pass_back": request.pass_back,
                    "app_id": event.app_id,
                    "topic_id": event.topic_id,
                    "tags": list(event.event_comm.event_tag.tag_list),
                    "source": source.source,
                    "seconds": source.create_time.seconds,
                }
            )
            answer = processor.DispatchRsp(pass_back=back)
            if code:
                answer.ret.CopyFrom(comm.Result(code=code, msg="said by a consumer"))
            return answer

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    services.add_evhubProcessorServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main():
    protos, count = sys.argv[1], int(sys.argv[2])
    comm, processor, services = stubs(protos)
    http, rpc = Seen("HTTP", count), Seen("gRPC", count)
    server, port = over_grpc(rpc, comm, processor, services)
    print(over_http(http), port, flush=True)
    http.wait()
    rpc.wait()
    server.stop(None)


main()
