//! `POST _inference/{id}/_chunk`: texts in, chunks out, each with its place and its vector.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use lexiscale_chunking::{ChunkingFailed, InvalidSettings};
use lexiscale_crds::ChunkingStrategy;
use lexiscale_wire::{InputType, Options, TextEmbedding};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Arrived, Call, Error, Gateway, Own, Target, Wanted};
use crate::gateway::admission::Deadline;
use crate::gateway::auth::Caller;
use crate::gateway::dispatch::too_late;
use crate::gateway::elastic::chunk::{Answer, ChunkRequest, CutTexts, Texts, parse};
use crate::gateway::elastic::chunking_settings::{self, Accepted};
use crate::gateway::elastic::error::{Items, Refusal};
use crate::gateway::elastic::json::Object;
use crate::gateway::embed;
use crate::gateway::places::Places;
use crate::gateway::presentation::{json, ok};

/// Chunks of one request that are embedded: each costs a worker some ten milliseconds.
const MOST_EMBEDDED: usize = 2048;
/// Chunks of one request that are only cut.
const MOST_CUT: usize = 65_536;
/// Bytes that are cut where they are. More of them must not keep other requests waiting.
const CUT_HERE: usize = 16 << 10;
/// How long the texts of one request may take to be cut. Ten megabytes of prose take a second; separators can be written that
/// take for ever, and must not keep others from cutting until a deadline that their author chose.
const LONGEST: Duration = Duration::from_secs(10);
/// Requests that are cut at once. Cutting is arithmetic, and the gateway has few CPUs.
static CUTTING: Places = Places::new(2);

pub(super) async fn chunk(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    request: Request,
) -> Result<Response, Error> {
    let arrived = Arrived::read(&gateway, &target.id, &[Own::Text, Own::Embeddings], request).await?;
    let Arrived { query, admitted, headers, body } = arrived;
    let ChunkRequest { texts, settings } = parse(&body)?;
    drop(body);
    let own = match settings {
        Some(settings) => Some(accepted(&target, settings, admitted.deadline).await?),
        None => None,
    };
    let entry = gateway.find(&target)?;
    let of_endpoint = || entry.endpoint.spec.chunking_settings.clone().unwrap_or_default();
    let settings = own.unwrap_or_else(|| Accepted::stored(of_endpoint()));
    let embeds = !query.denies(Own::Embeddings);
    let most = if embeds { MOST_EMBEDDED } else { MOST_CUT };
    let cut = cut(&target, texts, settings, most, admitted.deadline).await?;
    let shown = if query.has(Own::Text) { Texts::Shown } else { Texts::LeftOut };
    if !embeds {
        return Ok(ok(json(&Answer::new(&cut, shown, None))));
    }
    let pieces = cut.pieces().map(str::to_owned).collect();
    let call = Call { key: &target.key(), admitted, headers: &headers };
    // Long texts are documents; whoever waits for a query's result sends a short one, and not here.
    let wanted = Wanted { texts: pieces, input_type: Some(InputType::Ingest), options: Options::default() };
    let write = move |rows: Vec<TextEmbedding>| json(&Answer::new(&cut, shown, Some(&rows)));
    embed::embed(&gateway, call, wanted, write).await
}

/// The settings of the request itself.
async fn accepted(target: &Target, settings: Object, deadline: Deadline) -> Result<Accepted, Error> {
    if !chunking_settings::has_separators(&settings) {
        return Ok(chunking_settings::parse(settings)?);
    }
    let task = CUTTING.run(&target.tenant, move || chunking_settings::parse(settings));
    let done = timeout_at(deadline.at, task).await.map_err(|_| late(target, deadline))?;
    Ok(done.map_err(|_| failed())??)
}

fn late(target: &Target, deadline: Deadline) -> Error {
    too_late(&target.id, deadline, "the chunks")
}

fn failed() -> Error {
    Error::Chunking("the chunker failed on it".to_owned())
}

/// Why texts are not cut.
enum NotCut {
    Settings(InvalidSettings),
    Text(ChunkingFailed),
    TooMany,
}

async fn cut(
    target: &Target,
    texts: Vec<String>,
    settings: Accepted,
    most: usize,
    deadline: Deadline,
) -> Result<CutTexts, Error> {
    let bytes: usize = texts.iter().map(String::len).sum();
    // Separators are a client's own programs, and may take long on a short text.
    let is_quick = bytes <= CUT_HERE && settings.settings.strategy != Some(ChunkingStrategy::Recursive);
    let cut = if is_quick {
        cut_while(texts, settings, most, &|| true)
    } else {
        let left = CancellationToken::new();
        // Dropped with this future, when the client leaves or the time is over: nobody would read what comes out.
        let _leave = left.clone().drop_guard();
        let task = CUTTING.run(&target.tenant, move || {
            let end = deadline.at.min(Instant::now() + LONGEST);
            cut_while(texts, settings, most, &|| !left.is_cancelled() && Instant::now() < end)
        });
        let done = timeout_at(deadline.at, task).await.map_err(|_| late(target, deadline))?;
        done.map_err(|_| failed())?
    };
    cut.map_err(|failure| match failure {
        NotCut::Settings(error) => {
            Refusal::Settings(Items::one(format!("[chunking_settings] {error}"))).into()
        }
        NotCut::Text(ChunkingFailed::Stopped) if deadline.at <= Instant::now() => late(target, deadline),
        NotCut::Text(ChunkingFailed::Stopped) => Error::Chunking(format!(
            "it takes longer than [{}s]; send less text in one request, or simpler [separators]",
            LONGEST.as_secs()
        )),
        NotCut::Text(error @ ChunkingFailed::TooManySteps(_)) => Error::Chunking(error.to_string()),
        NotCut::TooMany => Error::TooManyChunks { limit: most },
    })
}

fn cut_while(
    texts: Vec<String>,
    settings: Accepted,
    most: usize,
    go_on: &dyn Fn() -> bool,
) -> Result<CutTexts, NotCut> {
    let chunker = settings.chunker().map_err(NotCut::Settings)?;
    let mut chunks = Vec::new();
    let mut number = 0;
    for text in &texts {
        if !go_on() {
            return Err(NotCut::Text(ChunkingFailed::Stopped));
        }
        let of_text = chunker.chunks_while(text, go_on).map_err(NotCut::Text)?;
        number += of_text.len();
        if number > most {
            return Err(NotCut::TooMany);
        }
        chunks.push(of_text);
    }
    Ok(CutTexts { texts, chunks })
}
