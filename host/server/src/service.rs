//! What answers a connection's requests: callouts by the shortest way, everything else by axum's router.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response};
use futures::FutureExt as _;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use crate::callout;
use crate::server::App;

/// Whose connection a request of the router's came over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Answers requests. A callout as Entra sends it takes none of the router's allocations, of which there are a dozen.
#[derive(Clone)]
pub(crate) struct Answers {
    app: Arc<App>,
    router: TowerToHyperService<Router>,
    /// Whose connection it is.
    peer: IpAddr,
}

impl Answers {
    pub(crate) fn new(app: Arc<App>, router: Router) -> Self {
        let router = TowerToHyperService::new(router);
        let peer = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self { app, router, peer }
    }

    /// For a connection.
    pub(crate) fn to(&self, peer: IpAddr) -> Self {
        Self { peer, ..self.clone() }
    }
}

impl Service<Request<Incoming>> for Answers {
    type Response = Response<Either<Full<Bytes>, Body>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if request.method() == Method::POST && callout::plain_names(request.uri().path()).is_some() {
            let answer = callout::handle(Arc::clone(&self.app), request, self.peer);
            return Box::pin(answer.map(|answer| Ok(answer.map(Either::Left))));
        }
        request.extensions_mut().insert(Peer(self.peer));
        let answer = self.router.call(request);
        Box::pin(answer.map(|answer| answer.map(|answer| answer.map(Either::Right))))
    }
}
