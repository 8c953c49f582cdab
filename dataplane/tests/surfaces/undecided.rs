//! Half messages that nobody decides on: each ends, nobody waits for another's publisher, and questions go nowhere that they
//! must not.

use std::{sync::Arc, time::Duration};

use evhub_dataplane::{
    egress::{Egress, Tools},
    ingest::Door,
    server::Limits,
};
use evhub_event::{Event, Record, kafka};
use evhub_journal::ClusterSettings;
use evhub_ledger::{
    Command, TimerId,
    command::Verb,
    half::{Callback, Checked, Exhausted, HalfListed, Prepare, State},
};
use evhub_proto::{
    evhub_comm::{Endpoint, TxCallback},
    evhub_producer::evhub_producer_client::EvhubProducerClient,
};
use evhub_routing::{CheckProtocol, Generation, Name, Producer, Snapshot, Undecided};
use serde_json::json;

use super::{
    h2::channel,
    rig::{EVENT_BYTES, Rig},
    transactions::{DUE, Publisher, asks, evhub, prepared, published, quiet, shown},
    wire::{PATIENCE, request},
};

/// Changes the Producer `orders`, or takes it away.
fn edit(rig: &Rig, change: impl FnOnce(&mut Producer) -> bool) {
    rig.snapshots.send_modify(|snapshot| {
        let mut next = Snapshot::clone(snapshot);
        next.generation = Generation { revision: next.generation.revision + 1, ..next.generation };
        let name = Name::new("shop", "orders");
        if !change(Arc::make_mut(next.producers.get_mut(&name).unwrap())) {
            next.producers.remove(&name);
        }
        *snapshot = Arc::new(next);
    });
}

/// Waits until somebody has decided, with as few questions before as there can be: none is put by this.
async fn decided(rig: &Rig, id: TimerId) -> HalfListed {
    let decided = async {
        loop {
            let ledger = &rig.hub.ledger;
            let found = ledger.look_half(id).await.unwrap().unwrap();
            if found.standing.state != State::Prepared {
                return found;
            }
            // It is not to be asked about soon: as if it had been, and it were to be again at once.
            if found.next - ledger.clock().now() > 1_000 {
                let checked = Checked {
                    checks: found.checks,
                    decide: None,
                    interval: Duration::from_millis(1),
                    max_checks: 1_000,
                    on_exhausted: Exhausted::Hold,
                };
                ledger.decide(Command { id, verb: Verb::Checked(Box::new(checked)) }).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(6 * PATIENCE, decided).await.expect("it ends")
}

#[tokio::test]
async fn one_that_nobody_can_be_asked_about_ends_as_well() {
    for (what, is_there) in [("no checkBack any more", true), ("no Producer any more", false)] {
        let rig = quiet().await;
        let id = prepared(&rig, "a").await;
        edit(&rig, |orders| {
            orders.ledger.check_back = None;
            is_there
        });
        assert_eq!(decided(&rig, id.parse().unwrap()).await.standing.state, State::RolledBack, "{what}");
        if is_there {
            assert_eq!(shown(&rig, &id).await["state"], "RolledBack");
        }
    }
}

#[tokio::test]
async fn one_that_says_itself_whom_to_ask_does_not_wait_for_the_producers() {
    let rig = Rig::start().await;
    let publisher = Publisher::default();
    let at = publisher.serve(&rig).await;
    // Nobody listens there, and there is always one that is due before.
    asks(&rig, "http://127.0.0.1:1/", CheckProtocol::CloudEvents, 1000, Undecided::Hold);
    for n in 0..100 {
        prepared(&rig, &n.to_string()).await;
    }
    let endpoint = Endpoint { protocol_type: 5, address: format!("http://{at}/json"), timeout: None };
    let callback_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let callback = TxCallback { endpoint: Some(endpoint), callback_interval };
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let answer = client.prepare(evhub(b"x", Some(callback))).await.unwrap().into_inner();
    let id = answer.tx.unwrap().event_id;
    let committed = json!({"tx_status": 2, "trigger": {"trigger_type": 1}});
    publisher.answers.lock().unwrap().insert(id.clone(), vec![committed]);
    assert_eq!(published(&rig, 1).await[0].id, id);
}

#[tokio::test]
async fn the_hubs_own_tools_are_nobodys_publishers() {
    let tool = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    tool.set_nonblocking(true).unwrap();
    let at = tool.local_addr().unwrap();
    let rig = Rig::that(|hub| {
        hub.egress = Egress::loopback();
        hub.tools = Tools::new([at]);
    })
    .await;
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let port = at.port();
    for (protocol_type, address, code) in [
        (5, format!("http://127.0.0.1:{port}/processors/billing/resume"), 10000),
        (5, format!("http://localhost:{port}/"), 10000),
        (3, format!("http://[::1]:{port}/"), 10000),
        (1, format!("ip://127.0.0.1:{port}"), 10000),
        (5, "http://127.0.0.1:1/".to_owned(), 0),
    ] {
        let endpoint = Endpoint { protocol_type, address: address.clone(), timeout: None };
        let callback = TxCallback { endpoint: Some(endpoint), callback_interval: None };
        let answer = client.prepare(evhub(b"x", Some(callback))).await.unwrap().into_inner();
        assert_eq!(answer.ret.map_or(0, |ret| ret.code), code, "{address}");
    }
    // One that is there from before: it counts as asked, and is not.
    let id = rig.hub.ledger.half_alone("before");
    let callback = Callback {
        way: 1,
        url: format!("http://127.0.0.1:{port}/"),
        timeout: Duration::from_secs(1),
        interval: Duration::from_millis(1),
    };
    let prepare = Prepare {
        producer: "uid-orders".to_owned(),
        topic: DUE.to_owned(),
        event_id: "before".to_owned(),
        record: event_before(),
        when: None,
        max_delay: Duration::from_hours(1),
        max_pending: 100,
        interval: callback.interval,
        callback: Some(callback),
        digest: 1,
    };
    let prepare = Command { id, verb: Verb::Prepare(Box::new(prepare)) };
    rig.hub.ledger.ask(prepare, EVENT_BYTES, ClusterSettings::default()).await.unwrap();
    assert_eq!(decided(&rig, id).await.standing.state, State::RolledBack);
    assert!(tool.accept().is_err(), "nobody came");
}

fn event_before() -> Record {
    let event = Event {
        id: "before".to_owned(),
        source: "/s".to_owned(),
        kind: "t".to_owned(),
        subject: None,
        time: None,
        datacontenttype: None,
        dataschema: None,
        extensions: Vec::new(),
        data: None,
    };
    kafka::encode(&event)
}

#[tokio::test]
async fn evhubs_clients_are_told_that_a_half_message_is_not_stored() {
    let door = Door::new(10_000);
    let rig = Rig::with(Limits::default(), door.clone()).await;
    asks(&rig, "http://127.0.0.1:1/", CheckProtocol::CloudEvents, 1000, Undecided::Hold);
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let json = json!({"event": {"app_id": "shop", "topic_id": "orders", "data": "eA=="}}).to_string();
    let mut codes = async || {
        let called = client.prepare(evhub(b"x", None)).await.unwrap().into_inner();
        let asked = rig.ask(rig.http, request("POST", "/v1/prepare", &[], &json)).await.json();
        (called.ret.map(|ret| ret.code), asked["ret"]["code"].as_i64())
    };
    assert_eq!(codes().await, (None, None));
    let mut full = door.enter();
    assert!(full.grow(10_000));
    assert_eq!(codes().await, (Some(21000), Some(21000)), "there is no room");
    drop(full);
    edit(&rig, |orders| {
        orders.events_per_second = Some(1);
        true
    });
    // The first ones may get in.
    let over = async {
        loop {
            let codes = codes().await;
            if codes.0.is_some() && codes.1.is_some() {
                return codes;
            }
        }
    };
    let over = tokio::time::timeout(6 * PATIENCE, over).await.expect("its rate holds");
    assert_eq!(over, (Some(21000), Some(21000)), "it takes no more now");
}
