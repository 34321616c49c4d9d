//! The log tells what was said, but no secrets.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use sitepeer::{
    domain::Secret,
    routeros::{Command, login::login},
};
use tracing_subscriber::fmt::MakeWriter;

use crate::fake::pair;

/// A log that can be read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn sentences_are_logged_without_their_secrets() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let (client, mut router) = pair();
    let password = Secret::new("s3cret-password".into());
    let ask = async {
        login(&client, "admin", &password).await.unwrap();
        let add = Command::new("/interface/wireguard/peers/add")
            .attr("name", "hub")
            .attr("preshared-key", "s3cret-psk")
            .secret("custom", "s3cret-custom");
        client.call(&add).await.unwrap()
    };
    let serve = async {
        let tag = router.tag().await;
        router.say(&["!done", &tag, "=ret=0102030405060708090a0b0c0d0e0f10"]).await;
        let tag = router.tag().await;
        router.say(&["!done", &tag]).await;
        let tag = router.tag().await;
        router.say(&["!re", &tag, "=name=wg1", "=private-key=s3cret-key"]).await;
        router.say(&["!done", &tag]).await;
    };
    let (reply, ()) = tokio::join!(ask, serve);

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for said in ["/login", "=name=admin", "=password=***", "=response=***", "=name=hub", "=custom=***", "=name=wg1"] {
        assert!(log.contains(said), "{said} is missing in\n{log}");
    }
    assert!(log.contains("=preshared-key=***") && log.contains("=private-key=***"));
    let debug = format!("{reply:?} {client:?}");
    assert!(!log.contains("s3cret") && !debug.contains("s3cret"), "{log}{debug}");
}
