"""An EvHub client with stubs from protoc: reports over gRPC and over HTTP JSON, and says what it heard.

Usage: evhub.py PROTOS GRPC HTTP. Ends with 0 if everything was as EvHub's clients expect it.
"""

import base64
import json
import sys
import tempfile
import urllib.request

import grpc
from grpc_tools import protoc


def stubs(protos):
    """The client's own code, made from the protos as EvHub's users make it."""
    out = tempfile.mkdtemp(prefix="evhub-stubs-")
    files = ["comm/comm.proto", "producer/producer.proto"]
    include = protoc.__file__.rsplit("/", 1)[0] + "/_proto"
    arguments = ["protoc", f"-I{protos}", f"-I{include}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main(arguments + files) != 0:
        sys.exit("protoc failed")
    sys.path.insert(0, out)
    from comm import comm_pb2
    from producer import producer_pb2, producer_pb2_grpc

    return comm_pb2, producer_pb2, producer_pb2_grpc


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: found {found!r}, wanted {wanted!r}")


def event(comm, topic="orders"):
    message = comm.Event(app_id="shop", topic_id=topic, data=b"from grpc")
    message.event_comm.event_source.source = "till/3"
    message.event_comm.event_source.qua = "V1"
    message.event_comm.event_source.create_time.seconds = 1
    message.event_comm.event_tag.tag_list.extend(["paid", "vip"])
    return message


def over_grpc(comm, producer, stub):
    real_time = comm.EventTrigger(trigger_type=comm.EVENT_TRIGGER_TYPE_REAL_TIME)
    option = comm.EventOption(orderingKey="customer-7")
    request = producer.ReportReq(event=event(comm), trigger=real_time, option=option)
    answer, call = stub.Report.with_call(request)
    expect("ret on success", answer.HasField("ret"), False)
    expect("event_id", bool(answer.event_id), True)
    expect("status-code", dict(call.initial_metadata()).get("status-code"), "0")

    keyed = comm.EventTrigger(trigger_type=comm.EVENT_TRIGGER_TYPE_DELAY_PROCESS)
    entry = keyed.delay_process_trigger_list.add(key="reminder")
    entry.delay_time.seconds = 600
    answer = stub.Report(producer.ReportReq(event=event(comm), trigger=keyed))
    expect("ret of delay-process", answer.HasField("ret"), False)

    delayed = comm.EventTrigger(trigger_type=comm.EVENT_TRIGGER_TYPE_DELAY)
    delayed.delay_trigger.delay_time.seconds = 5
    for trigger, topic, code in [(delayed, "orders", 20001), (real_time, "nowhere", 10000)]:
        answer = stub.Report(producer.ReportReq(event=event(comm, topic), trigger=trigger))
        expect(f"code for {topic}", answer.ret.code, code)
        expect("a sentence", bool(answer.ret.msg), True)
    expect("code without an event", stub.Report(producer.ReportReq()).ret.code, 10000)

    expect("prepare", stub.Prepare(producer.PrepareReq(event=event(comm))).ret.code, 21000)
    expect("commit", stub.Commit(producer.CommitReq(event_id="1", trigger=real_time)).ret.code, 20005)
    expect("rollback", stub.Rollback(producer.RollbackReq(event_id="1")).ret.code, 20005)


def post(http, path, body):
    request = urllib.request.Request(f"http://{http}{path}", data=body, method="POST")
    request.add_header("Content-Type", "application/octet-stream")
    with urllib.request.urlopen(request, timeout=20) as answer:
        expect(f"status of {path}", answer.status, 200)
        return json.loads(answer.read())


def over_http(http):
    body = {
        "event": {"app_id": "shop", "topic_id": "orders", "data": base64.b64encode(b"from http").decode()},
        "trigger": {"trigger_type": 1},
        "option": {"orderingKey": "customer-7"},
    }
    answer = post(http, "/v1/report", json.dumps(body).encode())
    expect("members on success", sorted(answer), ["event_id"])
    body["event"]["topic_id"] = "nowhere"
    answer = post(http, "/v1/report", json.dumps(body).encode())
    expect("code for nowhere", answer["ret"]["code"], 10000)
    expect("no JSON", post(http, "/v1/report", b"{")["ret"]["code"], 10000)
    expect("prepare", post(http, "/v1/prepare", b'{"txCallback": {}}')["ret"]["code"], 21000)
    expect("commit", post(http, "/v1/commit", b'{"eventID": "1", "trigger": {}}')["ret"]["code"], 20005)
    expect("rollback", post(http, "/v1/rollback", b'{"eventID": "1"}')["ret"]["code"], 20005)


def main():
    protos, address, http = sys.argv[1:]
    comm, producer, services = stubs(protos)
    with grpc.insecure_channel(address) as channel:
        over_grpc(comm, producer, services.evhubProducerStub(channel))
    over_http(http)


main()
