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
    let router = routes().into_iter().fold(Router::new(), |router, (path, route)| router.route(path, route));
    router
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

/// Every route. The tests ask each of them without credentials.
pub(crate) fn routes() -> Vec<(&'static str, MethodRouter<Gateway>)> {
    let own = [
        ("/", get(page::root)),
        ("/_page/page.css", get(page::style)),
        ("/_page/page.js", get(page::script)),
        ("/_page/icon.svg", get(page::icon)),
        ("/_page/endpoints", get(page::endpoints)),
        ("/_inference", get(endpoints::list)),
        ("/_inference/_services", get(info::list_services)),
        ("/_inference/_services/{task_type}", get(info::list_services)),
        ("/_inference/{id}", endpoint()),
        ("/_inference/{id}/_stream", post(inference::stream)),
        ("/_inference/{id}/_update", put(update::update)),
        ("/_inference/{task_type}/{id}", endpoint()),
        ("/_inference/{task_type}/{id}/_stream", post(inference::stream)),
        ("/_inference/{task_type}/{id}/_update", put(update::update)),
    ];
    own.into_iter().chain(shapes::routes()).collect()
}

fn endpoint() -> MethodRouter<Gateway> {
    get(endpoints::get).put(create::create).delete(endpoints::delete).post(inference::infer)
}
