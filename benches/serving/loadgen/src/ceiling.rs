//! The server that does nothing: it parses the body, as any server must, and answers a constant.
//!
//! What a framework on axum can reach at most on this machine, with this generator beside it.

use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::Failure;
use crate::options::Ceiling;

/// Numbers that an input has.
const INPUTS: usize = 64;
/// As long as the answer of a model with ten outputs.
const ANSWER: &str = concat!(
    r#"{"result":[-0.0417,0.1029,0.0563,-0.1374,0.0218,0.0901,-0.0745,0.0332,0.0087,-0.0519],"#,
    r#""model":"mlp","version":"1"}"#
);

#[derive(Deserialize)]
struct Body {
    input: Vec<f32>,
}

/// Serves until it is killed.
pub(crate) fn serve(options: &Ceiling) -> Result<(), Failure> {
    let mut builder = match options.threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(options.threads).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(options.listen).await?;
        println!("http://{}", listener.local_addr()?);
        // Small answers must not wait for their acknowledgements.
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, Router::new().fallback(answer)).await?;
        Ok(())
    })
}

async fn answer(body: Bytes) -> Response {
    match serde_json::from_slice::<Body>(&body) {
        Ok(body) if body.input.len() == INPUTS => {
            ([(header::CONTENT_TYPE, "application/json")], ANSWER).into_response()
        }
        _ => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
    }
}
