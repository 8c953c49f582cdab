//! One gRPC stream for many deliveries: deliveries go down, one ack for each comes up. I/O.
//!
//! A stream is opened by the first delivery, and again by the next one when it broke. What was in flight on it then has
//! failed, as if a connection had; the target may have done its work and will see those events again. A delivery that is
//! not acknowledged in time leaves its stream; when that acknowledged nothing at all for as long as the target has for one,
//! the next deliveries get a stream of their own, while those in flight keep the one they have.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use evhub_proto::dispatch::{self as proto, ack::Result as Word, receiver_client::ReceiverClient};
use evhub_routing::Target;
use evhub_telemetry::Context;
use futures_util::stream::unfold;
use http::{HeaderMap, Uri};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::Instant,
};
use tonic::{Extensions, Request, body::Body, metadata::MetadataMap};

use super::{Deadline, Delivery, always, cloudevent, connect::Client, grpc, text::printable};
use crate::outcome::Answer;

/// How many deliveries wait for the target to read on; more wait in their attempts.
const QUEUE: usize = 16;
/// The largest ack: its message is kept in part.
const ACK: usize = 64 << 10;

/// The deliveries to one target.
#[derive(Debug)]
pub(super) struct Stream {
    client: Client<Body>,
    origin: Uri,
    metadata: MetadataMap,
    current: Mutex<Option<Arc<Call>>>,
}

/// One stream. Ends when nobody holds it any more.
#[derive(Debug)]
struct Call {
    deliveries: mpsc::Sender<proto::Delivery>,
    waiting: Arc<Mutex<Waiting>>,
    acks: AbortHandle,
}

/// Who waits for an ack.
#[derive(Debug, Default)]
struct Waiting {
    latest: u64,
    by_sequence: HashMap<u64, oneshot::Sender<proto::Ack>>,
    /// Since when nothing was acknowledged although something was there to be.
    silent_since: Option<Instant>,
    /// Why no more acks will come.
    broken: Option<String>,
}

/// A delivery's place among those that wait.
struct Place<'a> {
    stream: &'a Stream,
    call: Arc<Call>,
    sequence: u64,
}

impl Stream {
    pub(super) fn new(client: Client<Body>, target: &Target) -> Self {
        let mut headers = HeaderMap::new();
        always(target, &mut headers);
        let metadata = MetadataMap::from_headers(headers);
        Self { client, origin: target.url.clone(), metadata, current: Mutex::default() }
    }

    /// Makes an attempt that may take less time than the target has for each, because its event's publisher said so.
    pub(super) async fn attempt(
        &self,
        delivery: &Delivery<'_>,
        deadline: Deadline,
        patience: Duration,
    ) -> Answer {
        let (place, acknowledged) = match self.wait_in_line(deadline.began()) {
            Ok(place) => place,
            Err(why) => return Answer::Failed(why),
        };
        let message = message(place.sequence, delivery);
        let answered = async {
            // When it cannot be sent the stream has ended, and the ack's sender with it.
            let _ = place.call.deliveries.send(message).await;
            acknowledged.await
        };
        match deadline.until(answered).await {
            Ok(Ok(ack)) => understand(&ack),
            Ok(Err(_)) => Answer::Failed(place.call.lock().broken.clone().unwrap_or_default()),
            Err(late) => {
                place.mistrust(patience);
                late
            }
        }
    }

    /// A place on the stream that there is, or else on a new one.
    fn wait_in_line(&self, now: Instant) -> Result<(Place<'_>, oneshot::Receiver<proto::Ack>), String> {
        let mut current = self.lock();
        let whole = current.take().filter(|call| call.lock().broken.is_none());
        let call = whole.unwrap_or_else(|| Arc::new(self.open()));
        *current = Some(Arc::clone(&call));
        drop(current);
        let (sender, receiver) = oneshot::channel();
        let mut waiting = call.lock();
        if let Some(why) = &waiting.broken {
            return Err(why.clone());
        }
        waiting.latest += 1;
        waiting.silent_since.get_or_insert(now);
        let sequence = waiting.latest;
        waiting.by_sequence.insert(sequence, sender);
        drop(waiting);
        Ok((Place { stream: self, call, sequence }, receiver))
    }

    fn open(&self) -> Call {
        let (deliveries, queue) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let down = unfold(queue, |mut queue| async { Some((queue.recv().await?, queue)) });
        let request = Request::from_parts(self.metadata.clone(), Extensions::default(), down);
        let client = ReceiverClient::with_origin(self.client.clone(), self.origin.clone())
            .max_decoding_message_size(ACK);
        let acks = tokio::spawn(take_acks(client, request, Arc::clone(&waiting))).abort_handle();
        Call { deliveries, waiting, acks }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Call>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands each ack to who waits for it, until the stream ends; then tells all others why.
async fn take_acks(
    mut client: ReceiverClient<Client<Body>>,
    request: Request<impl futures_util::Stream<Item = proto::Delivery> + Send + 'static>,
    waiting: Arc<Mutex<Waiting>>,
) {
    let lock = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = async {
        let mut acks = client.deliver(request).await?.into_inner();
        while let Some(ack) = acks.message().await? {
            let mut waiting = lock();
            let waiter = waiting.by_sequence.remove(&ack.sequence);
            // One that comes too late is a sign of life as well.
            waiting.silent_since = (!waiting.by_sequence.is_empty()).then(Instant::now);
            if let Some(waiter) = waiter {
                // It may have just run out of time.
                let _ = waiter.send(ack);
            }
        }
        Ok::<_, tonic::Status>(())
    };
    let why = match ended.await {
        Ok(()) => "the target ended the stream".to_owned(),
        Err(status) => format!("the stream broke: {}", grpc::answer(&status).text()),
    };
    let mut waiting = lock();
    waiting.broken = Some(why);
    waiting.by_sequence.clear();
}

fn message(sequence: u64, delivery: &Delivery<'_>) -> proto::Delivery {
    let identity = &delivery.identity;
    let traceparent = delivery.trace.map(Context::traceparent);
    let tracestate = delivery.trace.and_then(Context::tracestate);
    proto::Delivery {
        sequence,
        delivery: identity.delivery.clone(),
        processor: identity.processor.to_owned(),
        attempt: identity.attempt,
        epoch: identity.epoch as i64,
        generation: identity.generation.to_string(),
        event: Some(cloudevent::encode(delivery.event)),
        due: delivery.due.map(stamp),
        occurrence: delivery.occurrence.unwrap_or_default(),
        traceparent: traceparent.unwrap_or_default(),
        tracestate: tracestate.unwrap_or_default(),
    }
}

/// An instant, in milliseconds since the Unix epoch, as protobuf has it.
fn stamp(millis: i64) -> prost_types::Timestamp {
    let nanos = millis.rem_euclid(1_000) as i32 * 1_000_000;
    prost_types::Timestamp { seconds: millis.div_euclid(1_000), nanos }
}

fn understand(ack: &proto::Ack) -> Answer {
    let text = printable(ack.message.as_bytes());
    match ack.result() {
        Word::Delivered => Answer::Accepted,
        Word::Retry => Answer::Deferred { text, retry_after: ack.retry_after.and_then(whole) },
        Word::Rejected => Answer::Rejected(text),
        Word::Cancel => Answer::Cancelled,
        Word::Unspecified => Answer::Failed(format!("an ack of an unknown result, {}", ack.result)),
    }
}

/// A duration that is one: not less than nothing.
fn whole(duration: prost_types::Duration) -> Option<Duration> {
    duration.try_into().ok()
}

// === impl Call ===

impl Call {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.acks.abort();
    }
}

// === impl Place ===

impl Place<'_> {
    /// There was no ack in time. A stream that had none for anybody for that long gets nothing new.
    fn mistrust(&self, patience: Duration) {
        let silent = self.call.lock().silent_since.is_some_and(|since| since.elapsed() >= patience);
        let mut current = self.stream.lock();
        if silent && current.as_ref().is_some_and(|call| Arc::ptr_eq(call, &self.call)) {
            *current = None;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.call.lock().by_sequence.remove(&self.sequence);
    }
}
