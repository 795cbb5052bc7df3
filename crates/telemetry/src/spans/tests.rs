use std::net::TcpListener;
use std::time::Instant;

use super::*;

/// To an address that takes connections and says nothing.
fn to_nobody(variables: &[(&str, &str)]) -> (Otlp, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let get = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        _ => {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, text)| (*text).to_owned())
        }
    };
    let settings = Settings::read(get).unwrap().unwrap();
    (
        Otlp::start(settings, "1.2.3", Handle::current()).unwrap(),
        listener,
    )
}

fn span(place: Trace) -> Span {
    Span {
        place,
        parent: Some(SpanId::fresh()),
        kind: SpanKind::Client,
        name: "test".into(),
        began: Timestamp::from_micros(2),
        ended: Timestamp::from_micros(1),
        words: vec![("number", 7_i64.into()), ("text", "x".into())],
        links: vec![Trace::fresh(true)],
        error: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_a_span_of_its_own_in_its_callers_trace() {
    let (otlp, _listener) = to_nobody(&[]);
    for is_sampled in [true, false] {
        let caller = Trace {
            state: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 a=1"
                .parse::<Trace>()
                .unwrap()
                .state,
            ..Trace::fresh(is_sampled)
        };
        let place = otlp.begin(Some(caller.clone()));
        assert_ne!(place.span, caller.span);
        assert_eq!(place.at(caller.span), caller);
    }
    let (one, other) = (otlp.begin(None), otlp.begin(None));
    assert!(one.is_sampled && one.id != other.id);
    let (never, _listener) = to_nobody(&[("OTEL_TRACES_SAMPLER", "always_off")]);
    assert!(!never.begin(Some(Trace::fresh(true))).is_sampled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_costs_spans_and_no_time() {
    let (otlp, _listener) = to_nobody(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "60000")]);
    let began = Instant::now();
    for _ in 0..100_000 {
        otlp.ended(span(Trace::fresh(true)));
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let given = otlp.counts.given.load(Ordering::Relaxed);
    otlp.ended(span(Trace::fresh(false)));
    assert_eq!(
        (given, otlp.counts.given.load(Ordering::Relaxed)),
        (100_000, 100_000),
        "what is not sampled is left out"
    );
    let began = Instant::now();
    tokio::task::spawn_blocking(move || otlp.stop()).await.unwrap();
    assert!(
        began.elapsed() < STOP_GRACE + Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn what_the_variables_name_goes_before_our_own_name() {
    let of = |service: Option<&str>, attributes: &[(&str, &str)]| {
        let attributes = attributes.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        let resource = resource(service.map(str::to_owned), attributes.collect(), "1.2.3");
        let get = |name: &'static str| resource.get(&name.into()).map(|value| value.to_string());
        (get("service.name"), get("service.version"))
    };
    let named = |name: &str| (Some(name.to_owned()), Some("1.2.3".to_owned()));
    assert_eq!(of(None, &[]), named("cresset"));
    assert_eq!(of(None, &[("service.name", "a")]), named("a"));
    assert_eq!(of(Some("b"), &[("service.name", "a")]), named("b"));
}
