//! The routes.

use axum::Router;
use axum::routing::{MethodRouter, get, post, put};
use tower::ServiceBuilder;
use tower_http::compression::{CompressionLayer, CompressionLevel, predicate::SizeAbove};

use super::around::AroundLayer;
use super::{Gateway, create, endpoints, inference, info, page, shapes, update};

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
                .layer(AroundLayer(gateway.clone())),
        )
        .with_state(gateway.clone())
}

fn endpoint() -> MethodRouter<Gateway> {
    get(endpoints::get).put(create::create).delete(endpoints::delete).post(inference::infer)
}
