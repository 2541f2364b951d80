//! The routes, and what every request passes on its way to its handler.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use tower::ServiceBuilder;
use tower_http::compression::{CompressionLayer, CompressionLevel, predicate::SizeAbove};

use super::observe::Watch;
use super::presentation::Dress;
use super::{Gateway, budget, create, endpoints, inference, info, page, server, shapes, update};

/// Bytes of an answer. Packing less than about one network packet costs time and saves none.
const SMALLEST_PACKED: u64 = 1 << 10;

pub(crate) fn router(gateway: &Gateway) -> Router {
    Router::new()
        .route("/", get(page::root))
        .route("/_page/page.css", get(page::style))
        .route("/_page/page.js", get(page::script))
        .route("/_page/icon.svg", get(page::icon))
        .route("/_page/endpoints", get(page::endpoints))
        .route("/_inference", get(endpoints::list))
        .route("/_inference/_services", get(info::list_services))
        .route("/_inference/_services/{task_type}", get(info::list_services))
        .route("/_inference/{id}", endpoint())
        .route("/_inference/{id}/_stream", post(inference::stream))
        .route("/_inference/{id}/_update", put(update::update))
        .route("/_inference/{task_type}/{id}", endpoint())
        .route("/_inference/{task_type}/{id}/_stream", post(inference::stream))
        .route("/_inference/{task_type}/{id}/_update", put(update::update))
        .merge(shapes::router())
        .fallback(info::unknown_path)
        .method_not_allowed_fallback(info::wrong_method)
        .layer(
            ServiceBuilder::new()
                .layer(
                    CompressionLayer::new()
                        .quality(CompressionLevel::Fastest)
                        .compress_when(SizeAbove::new(SMALLEST_PACKED)),
                )
                .layer(from_fn_with_state(gateway.clone(), around)),
        )
        .with_state(gateway.clone())
}

/// What every request passes. One layer, and nothing kept but what the answer needs: a request may wait for long, and each
/// layer would hold a boxed future and a copy of the route for it.
async fn around(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let (mut request, watch) = Watch::begin(&gateway, request).await;
    let (dress, acceptable) = Dress::of(&request);
    let response = match acceptable.and_then(|()| server::refuse_bad_head(&mut request)) {
        Ok(()) => {
            let counted = budget::count_body(&gateway, &mut request);
            let response = next.run(request).await;
            counted.note(&gateway);
            response
        }
        Err(error) => error.into_response(),
    };
    watch.end(dress.put_on(&gateway, response).await)
}

fn endpoint() -> MethodRouter<Gateway> {
    get(endpoints::get).put(create::create).delete(endpoints::delete).post(inference::infer)
}
