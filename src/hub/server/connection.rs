//! One connection: HTTP/1.1 over anything, until the client goes, loses our patience, or the hub stops.

use std::future::poll_fn;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::patience::{Patience, Stage};
use crate::hub::auth::Remote;

/// Most headers of a request; ours have a handful, a proxy adds some.
const MAX_HEADERS: usize = 64;
/// Largest head of a request in bytes: the longest search and a credential are a tenth of it.
const MAX_HEAD: usize = 16 * 1024;
/// What is still read of a body that was refused, in bytes, so that the client gets to see why.
const MAX_LINGER_BYTES: u64 = 2 << 20;
/// How long it may go on sending.
const MAX_LINGER: Duration = Duration::from_secs(2);

/// When the hub stops: how long the head of a request that is on its way may still take.
const STOP_HEAD_WAIT: Duration = Duration::from_secs(1);

/// Serves one connection.
///
/// # Cancel safety
/// Dropping it closes the connection at once.
pub(super) async fn serve<S>(stream: S, remote: Remote, router: Router, stopping: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stage = Stage::default();
    let stream = TokioIo::new(Patience::new(stream, stage.clone()));
    let told = stage.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        told.busy();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(remote);
        let answer = router.clone().call(request);
        let stage = told.clone();
        // Boxed, so that the connection can be taken apart when it is over; not an `async` block, which would have room for it twice.
        Box::pin(answer.inspect(move |_answer| stage.idle()))
    });
    let mut builder = http1::Builder::new();
    // Nothing is read while a request is worked on: hyper would hold eight more KiB for each poll only to see its client go, and
    // a client that went comes back for one of its two seats, or the wait ends.
    builder.half_close(true);
    // Deadlines are the stream's: hyper's own would end idle connections as early as slow ones.
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    let mut connection = builder.serve_connection(stream, service);
    let ended = tokio::select! {
        ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => ended,
        () = stopping.cancelled() => {
            Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => ended,
                // Whoever has not asked anything yet must not keep the hub from stopping.
                () = unasked(&stage) => return,
            }
        }
    };
    match ended {
        Ok(()) => linger(connection.into_parts().io.into_inner()).await,
        Err(error) => tracing::debug!(%error, "a connection ended early"),
    }
}

/// Ends after [`STOP_HEAD_WAIT`] if no request is worked on then; else never.
async fn unasked(stage: &Stage) {
    tokio::time::sleep(STOP_HEAD_WAIT).await;
    if stage.is_busy() {
        std::future::pending::<()>().await;
    }
}

/// Closes our half, and takes what the client still sends for a while: closing at once would reset the connection, and the
/// client could lose the answer that says why its request was refused.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let close = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MAX_LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // However it ends: the connection is over.
    let _closed = tokio::time::timeout(MAX_LINGER, close).await;
}
