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


def report(stub, producer, event, trigger=None, **option):
    """Reports, and says with which code that ended: 0 when `ret` is not there."""
    request = producer.ReportReq(event=event, trigger=trigger)
    if option:
        request.option.orderingKey = option["key"]
    answer, call = stub.Report.with_call(request)
    expect("event_id", bool(answer.event_id), True)
    expect("status-code", dict(call.initial_metadata()).get("status-code"), "0")
    if not answer.HasField("ret"):
        return 0
    expect("a sentence", bool(answer.ret.msg), True)
    return answer.ret.code


def over_grpc(comm, producer, stub):
    real_time = comm.EventTrigger(trigger_type=comm.EVENT_TRIGGER_TYPE_REAL_TIME)
    keyed = comm.EventTrigger(trigger_type=comm.EVENT_TRIGGER_TYPE_DELAY_PROCESS)
    entry = keyed.delay_process_trigger_list.add(key="reminder")
    entry.delay_time.seconds = 600
    bare = comm.Event(app_id="shop", topic_id="orders", data=b"from grpc, bare")
    expect("real-time", report(stub, producer, event(comm), real_time, key="customer-7"), 0)
    expect("delay-process", report(stub, producer, event(comm), keyed), 0)
    expect("no trigger", report(stub, producer, bare), 0)

    def trigger(kind, **fields):
        return comm.EventTrigger(trigger_type=kind, **fields)

    def delayed(seconds, nanos=0):
        message = trigger(comm.EVENT_TRIGGER_TYPE_DELAY)
        message.delay_trigger.delay_time.seconds = seconds
        message.delay_trigger.delay_time.nanos = nanos
        return message

    def processed(*entries):
        message = trigger(comm.EVENT_TRIGGER_TYPE_DELAY_PROCESS)
        for key, seconds, nanos in entries:
            entry = message.delay_process_trigger_list.add(key=key)
            entry.delay_time.seconds = seconds
            entry.delay_time.nanos = nanos
        return message

    tagged = event(comm)
    tagged.event_comm.event_tag.tag_list.append("a,b")
    early = event(comm)
    early.event_comm.event_source.create_time.seconds = -(10**12)
    unkeyed = trigger(comm.EVENT_TRIGGER_TYPE_DELAY_PROCESS)
    unkeyed.delay_process_trigger_list.add(key="reminder")
    for what, message, kind, code in [
        ("a delay", event(comm), delayed(5), 0),
        ("a repeat without a rate", event(comm), trigger(comm.EVENT_TRIGGER_TYPE_REPEAT), 10000),
        ("a delay without a time", event(comm), trigger(comm.EVENT_TRIGGER_TYPE_DELAY), 10000),
        ("a trigger of nobody", event(comm), trigger(9), 10000),
        ("a key twice", event(comm), processed(("a", 1, 0), ("a", 2, 0)), 10000),
        ("a key with a comma", event(comm), processed(("a,b", 1, 0)), 10000),
        ("a key without a delay", event(comm), unkeyed, 10000),
        ("a delay for ever", event(comm), processed(("a", 10**9, 0)), 10000),
        ("a delay of two signs", event(comm), processed(("a", 1, -1)), 10000),
        ("a tag with a comma", tagged, real_time, 10000),
        ("a time before all", early, real_time, 10000),
        ("no topic", comm.Event(app_id="shop"), real_time, 10000),
        ("no app", comm.Event(topic_id="orders"), real_time, 10000),
        ("nobody's topic", event(comm, "nowhere"), real_time, 10000),
        ("an event too large", comm.Event(app_id="shop", topic_id="orders", data=b"x" * 5000), real_time, 10000),
        ("a topic that is not there yet", event(comm, "late"), real_time, 20000),
    ]:
        expect(f"code of {what}", report(stub, producer, message, kind), code)
    expect("code without an event", stub.Report(producer.ReportReq()).ret.code, 10000)
    request = producer.ReportReq(event=event(comm), trigger=real_time)
    request.option.idempotent.key = "once"
    first = stub.Report(request)
    again = stub.Report(request)
    expect("code of the first under a key", first.ret.code, 0)
    expect("code of the same again", (again.ret.code, again.event_id), (10001, first.event_id))

    expect("prepare", stub.Prepare(producer.PrepareReq(event=event(comm))).ret.code, 10000)
    expect("commit", stub.Commit(producer.CommitReq(event_id="1", trigger=real_time)).ret.code, 20005)
    expect("commit without a trigger", stub.Commit(producer.CommitReq(event_id="1")).ret.code, 10000)
    expect("rollback", stub.Rollback(producer.RollbackReq(event_id="1")).ret.code, 20005)
    expect("rollback of nothing", stub.Rollback(producer.RollbackReq()).ret.code, 10000)

    callback = comm.TxCallback(Endpoint=comm.Endpoint(protocol_type=1, address="ip://127.0.0.1:1"))
    prepared = stub.Prepare(producer.PrepareReq(event=event(comm), tx_callback=callback))
    expect("prepare", (prepared.HasField("ret"), prepared.tx.status), (False, 1))
    commit = producer.CommitReq(event_id=prepared.tx.event_id, trigger=real_time)
    for what, ret, tx in [("commit", 0, 2), ("commit again", 21001, 4)]:
        said = stub.Commit(commit)
        expect(what, (said.ret.code, said.tx.status, said.tx.event_id), (ret, tx, prepared.tx.event_id))
    said = stub.Rollback(producer.RollbackReq(event_id=prepared.tx.event_id))
    expect("rollback of what is committed", (said.ret.code, said.tx.status), (21002, 4))


def post(http, path, body):
    request = urllib.request.Request(f"http://{http}{path}", data=body, method="POST")
    request.add_header("Content-Type", "application/octet-stream")
    with urllib.request.urlopen(request, timeout=20) as answer:
        expect(f"status of {path}", answer.status, 200)
        return json.loads(answer.read())


def over_http(http):
    go = {
        "event": {
            "app_id": "shop",
            "topic_id": "orders",
            "data": base64.b64encode(b"from http, as Go writes it").decode(),
            "event_comm": {"event_source": {"create_time": {"seconds": 1}}, "event_tag": {"tag_list": ["paid"]}},
        },
        "trigger": {"trigger_type": 1},
        "option": {"orderingKey": "customer-7"},
    }
    canonical = {
        "event": {
            "appId": "shop",
            "topicId": "orders",
            "data": base64.b64encode(b"from http, in protobuf's own JSON").decode(),
            "eventComm": {"eventSource": {"createTime": "1970-01-01T00:00:01.5Z"}},
        },
        "trigger": {
            "triggerType": "EVENT_TRIGGER_TYPE_DELAY_PROCESS",
            "delayProcessTriggerList": [{"key": "a", "delayTime": "3.5s"}, {"key": "b", "delayTime": "60s"}],
        },
    }
    for body in [go, canonical]:
        answer = post(http, "/v1/report", json.dumps(body).encode())
        expect("members on success", sorted(answer), ["event_id"])

    def code(path, body):
        answer = post(http, path, body if isinstance(body, bytes) else json.dumps(body).encode())
        expect(f"a sentence of {path}", bool(answer["ret"]["msg"]), True)
        return answer["ret"]["code"]

    def with_trigger(**trigger):
        return {**go, "trigger": trigger}

    nowhere = {**go, "event": {**go["event"], "topic_id": "nowhere"}}
    for what, path, body, wanted in [
        ("nobody's topic", "/v1/report", nowhere, 10000),
        ("no JSON", "/v1/report", b"{", 10000),
        ("another type", "/v1/report", {"event": []}, 10000),
        ("a repeat without a rate", "/v1/report", with_trigger(trigger_type=3), 10000),
        ("a trigger of nobody", "/v1/report", with_trigger(trigger_type="SOMETIMES"), 10000),
        ("a prepare", "/v1/prepare", {"txCallback": {}}, 10000),
        ("a commit", "/v1/commit", {"eventID": "1", "trigger": {}}, 20005),
        ("a commit without a trigger", "/v1/commit", {"eventID": "1"}, 10000),
        ("a rollback", "/v1/rollback", {"eventID": "1"}, 20005),
        ("a rollback of nothing", "/v1/rollback", {}, 10000),
    ]:
        expect(f"code of {what}", code(path, body), wanted)


def main():
    protos, address, http = sys.argv[1:]
    comm, producer, services = stubs(protos)
    with grpc.insecure_channel(address) as channel:
        over_grpc(comm, producer, services.evhubProducerStub(channel))
    over_http(http)


main()
