//! Half messages over HTTP, on every listener that takes events.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use evhub_event::{
    controls::{When, delay, instant as parse_instant},
    http::is_batch,
};
use evhub_journal::Journal;
use evhub_ledger::{
    TimerId,
    half::{self, Commit, HalfListed, Standing, Which},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};

use super::ask::Transactions;
use crate::{
    Hub,
    api::{PAGE, Page, instant, text_or_base64},
    ingest::{
        self,
        body::{self, Bound, check_json},
        take::{self, Taken},
        trace::Asked,
    },
    problem::{Problem, reason},
    request::{Identified, Named, Query},
};

/// How long an order to commit may be.
const ORDER: Bound = Bound { bytes: 4096, reason: reason::BODY_TOO_LARGE };

/// A half message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    id: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prepared: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_check: Option<String>,
}

/// When it is to be published, if that is not at once.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    due: Option<String>,
    delay: Option<String>,
}

pub(crate) fn routes<J: Journal>() -> Router<Arc<Hub<J>>> {
    let all = "/namespaces/{namespace}/producers/{name}/transactions";
    Router::new()
        .route(all, get(list::<J>).post(prepare::<J>))
        .route(&format!("{all}/{{id}}"), get(show::<J>))
        .route(&format!("{all}/{{id}}/commit"), post(commit::<J>))
        .route(&format!("{all}/{{id}}/rollback"), post(roll_back::<J>))
}

async fn prepare<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Named(name): Named,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let transactions = match Transactions::of(&hub, &name).and_then(|found| single(&parts.headers, found)) {
        Ok(found) => found,
        Err(problem) => return Err(body::discard(&parts.headers, body, problem).await),
    };
    let producer = ingest::find(&hub, &name)?;
    let asked = Asked::of(&hub, &parts.headers);
    let mut charge = hub.door.enter();
    let taken = take::take(&hub, &producer, &parts, body, &mut charge).await;
    let taken = taken.inspect_err(|problem| ingest::refused(&hub, &name, &asked, || problem.words()))?;
    let Taken::One(event) = taken else { return Err(one()) };
    let event_id = event.0.id.clone();
    let (id, standing) = transactions.prepare(*event, charge, &asked).await?;
    let mut headers = HeaderMap::new();
    let path = format!("/namespaces/{}/producers/{}/transactions/{id}", name.namespace, name.name);
    headers.extend(HeaderValue::try_from(path).ok().map(|path| (header::LOCATION, path)));
    let shown = Shown { event_id: Some(event_id), ..Shown::standing(id, standing) };
    Ok((StatusCode::CREATED, headers, Json(shown)).into_response())
}

fn single<T>(headers: &HeaderMap, found: T) -> Result<T, Problem> {
    if is_batch(headers) { Err(one()) } else { Ok(found) }
}

fn one() -> Problem {
    let detail = "a half message is one event: prepare the events of a batch one by one";
    Problem::new(reason::UNSUPPORTED_MEDIA_TYPE, detail).at("content-type")
}

async fn list<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Named(name): Named,
    uri: Uri,
) -> Result<Json<Page<Shown>>, Problem> {
    let query = Query::read(&uri, &["state", "limit", "after"])?;
    let (limit, which) = (query.limit(PAGE.0, PAGE.1)?, which(query.text("state"))?);
    let (listed, next) = Transactions::of(&hub, &name)?.list(which, query.text("after"), limit).await?;
    Ok(Json(Page { items: listed.into_iter().map(Shown::of).collect(), next }))
}

/// The half messages that a list is of.
pub(super) fn which(state: Option<&str>) -> Result<Which, Problem> {
    match state {
        None | Some("" | "Prepared") => Ok(Which::Prepared),
        Some("InDoubt") => Ok(Which::InDoubt),
        Some("Held") => Ok(Which::Held),
        Some(_) => {
            let detail = "state is Prepared (all that nobody has decided on), InDoubt (those that were asked about) or \
                          Held (those that nobody is asked about any more)";
            Err(Problem::new(reason::INVALID_QUERY, detail).at("state"))
        }
    }
}

async fn show<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Identified(name, id): Identified,
    uri: Uri,
) -> Result<Json<Shown>, Problem> {
    Query::read(&uri, &[])?;
    Ok(Json(Shown::of(Transactions::of(&hub, &name)?.look(&id).await?)))
}

async fn commit<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Identified(name, id): Identified,
    request: Request,
) -> Result<Json<Shown>, Problem> {
    let (parts, body) = request.into_parts();
    let checked = Query::read(&parts.uri, &[]).and_then(|_| body::check_encoding(&parts.headers));
    let transactions = match checked.and_then(|()| Transactions::of(&hub, &name)) {
        Ok(transactions) => transactions,
        Err(problem) => return Err(body::discard(&parts.headers, body, problem).await),
    };
    let body = body::read(&parts.headers, body, ORDER, &mut hub.door.enter()).await?;
    let order = if body.is_empty() {
        Order::default()
    } else {
        check_json(&parts.headers)?;
        serde_json::from_slice(&body).map_err(|_| Order::malformed())?
    };
    let (id, standing) = transactions.commit(&id, order.commit()?).await?;
    Ok(Json(Shown::standing(id, standing)))
}

async fn roll_back<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Identified(name, id): Identified,
    request: Request,
) -> Result<Json<Shown>, Problem> {
    let (parts, body) = request.into_parts();
    Query::read(&parts.uri, &[])?;
    let transactions = Transactions::of(&hub, &name)?;
    // There is nothing to say: whatever comes is read for the connection's sake.
    body::read(&parts.headers, body, ORDER, &mut hub.door.enter()).await?;
    let (id, standing) = transactions.roll_back(&id).await?;
    Ok(Json(Shown::standing(id, standing)))
}

impl Order {
    fn malformed() -> Problem {
        let detail =
            r#"the body is nothing, or says when, as {"due":"2026-01-01T09:00:00Z"} or {"delay":"1h30m"}"#;
        Problem::new(reason::INVALID_JSON, detail)
    }

    fn commit(self) -> Result<Commit, Problem> {
        let when = match self {
            Self { due: Some(due), delay: None } => Some(When::At(parse_instant(&due)?)),
            Self { due: None, delay: Some(text) } => Some(When::After(delay(&text)?)),
            Self { due: None, delay: None } => None,
            Self { .. } => return Err(Self::malformed()),
        };
        Ok(Commit { when, ..Commit::default() })
    }
}

/// A state's word.
pub(super) fn word(state: half::State) -> &'static str {
    match state {
        half::State::Prepared => "Prepared",
        half::State::Committed => "Committed",
        half::State::RolledBack => "RolledBack",
    }
}

impl Shown {
    fn standing(id: TimerId, Standing { state, at, due, first: _ }: Standing) -> Self {
        let is_prepared = state == half::State::Prepared;
        Self {
            id: id.to_string(),
            state: word(state),
            event_id: None,
            prepared: is_prepared.then(|| instant(at)).flatten(),
            decided: (!is_prepared).then(|| instant(at)).flatten(),
            due: (state == half::State::Committed).then(|| instant(due)).flatten(),
            key: None,
            key_base64: None,
            checks: None,
            next_check: None,
        }
    }

    fn of(half: HalfListed) -> Self {
        let HalfListed { id, producer: _, event_id, key, standing, checks, next } = half;
        let (key, key_base64) = text_or_base64(key.as_ref());
        let is_prepared = standing.state == half::State::Prepared;
        Self {
            event_id: Some(event_id).filter(|id| !id.is_empty()),
            key,
            key_base64,
            checks: is_prepared.then_some(checks),
            next_check: instant(next),
            ..Self::standing(id, standing)
        }
    }
}
