//! What is done with every answer: it is counted, logged and stamped.
//!
//! A service with a future of its own, and not a function of middleware: that one would hold the whole request in one more box
//! for as long as it is worked on, and most of ours wait.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::hub::state::Context;

/// Watches a service.
#[derive(Debug, Clone)]
pub(super) struct Watch(pub(super) Context);

/// A service that is watched.
#[derive(Debug, Clone)]
pub(super) struct Watched<S> {
    inner: S,
    context: Context,
}

pin_project! {
    /// An answer that is waited for.
    pub(super) struct Watching<F> {
        #[pin]
        answer: F,
        began: Instant,
        method: &'static str,
        // A pattern such as `/v1/peers/{id}`; paths that are none of ours are one.
        route: Option<MatchedPath>,
        context: Context,
    }
}

impl<S> Layer<S> for Watch {
    type Service = Watched<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Watched { inner, context: self.0.clone() }
    }
}

impl<S> Service<Request> for Watched<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Watching<S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (began, method) = (Instant::now(), known(request.method()));
        let route = request.extensions().get::<MatchedPath>().cloned();
        Watching { answer: self.inner.call(request), began, method, route, context: self.context.clone() }
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Watching<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.answer.poll(cx))?;
        let route = this.route.as_ref().map_or("(unknown)", MatchedPath::as_str);
        let (status, took) = (response.status().as_u16(), this.began.elapsed());
        let waited = matches!(route, "/v1/agent/desired" | "/v1/gateway/desired");
        this.context.metrics.answered(this.method, route, status, (!waited).then_some(took));
        log(this.method, route, status, took);
        let headers = response.headers_mut();
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Poll::Ready(Ok(response))
    }
}

fn log(method: &str, route: &str, status: u16, took: Duration) {
    let took_ms = took.as_millis();
    if status >= 500 {
        tracing::warn!(method, route, status, took_ms, "answered");
    } else {
        tracing::debug!(method, route, status, took_ms, "answered");
    }
}

/// A method as a label: a client must not be able to make new ones.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}
