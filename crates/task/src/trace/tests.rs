use proptest::prelude::*;

use super::*;

const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn state(headers: &[&str]) -> Option<String> {
    TraceState::read(headers.iter().map(|header| header.as_bytes())).map(|state| state.as_str().to_owned())
}

#[test]
fn a_sound_traceparent_is_read_and_no_other() {
    let trace = Trace::read(GOOD.as_bytes()).unwrap();
    assert_eq!(trace.id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(trace.span.to_string(), "00f067aa0ba902b7");
    assert!(trace.is_sampled);
    assert_eq!(trace.traceparent(), GOOD);
    for (newer, sampled) in [
        (
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            true,
        ),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe", false),
    ] {
        let read = Trace::read(newer.as_bytes()).unwrap();
        assert_eq!(
            (read.id, read.span, read.is_sampled),
            (trace.id, trace.span, sampled),
            "{newer}"
        );
        assert!(
            read.traceparent().starts_with("00-"),
            "what we say is of the version that we know"
        );
    }
    for wrong in [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
    ] {
        assert_eq!(Trace::read(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn ids_of_our_own_differ_and_are_written_in_full() {
    let (one, other) = (Trace::fresh(true), Trace::fresh(false));
    assert_ne!(one.id, other.id);
    assert_ne!(SpanId::fresh(), SpanId::fresh());
    assert_eq!(Trace::read(one.traceparent().as_bytes()), Some(one.clone()));
    let child = one.at(SpanId::fresh());
    assert_eq!((child.id, child.is_sampled), (one.id, true));
    assert_ne!(child.span, one.span);
}

#[test]
fn a_sound_tracestate_is_passed_on_as_it_came() {
    assert_eq!(
        state(&["a=1, b=x y ,,t1@sys=~!"]).as_deref(),
        Some("a=1,b=x y,t1@sys=~!")
    );
    assert_eq!(
        state(&["a=1", "b=2"]).as_deref(),
        Some("a=1,b=2"),
        "several headers are one list"
    );
    for wrong in [
        "", " , ", "a", "=1", "a=", "A=1", "1a=1", "a=1=2", "a=1,a=2", "a@b@c=1", "é=1", "a=\u{7f}",
    ] {
        assert_eq!(state(&[wrong]), None, "{wrong}");
    }
    let many = |count: usize| {
        (0..count)
            .map(|n| format!("k{n}=v"))
            .collect::<Vec<_>>()
            .join(",")
    };
    assert!(state(&[&many(TRACE_STATE_MEMBERS_MAX)]).is_some());
    assert_eq!(state(&[&many(TRACE_STATE_MEMBERS_MAX + 1)]), None);
}

#[test]
fn of_a_tracestate_that_is_too_long_whole_members_are_left_out_the_large_ones_first() {
    let member = |key: &str, length: usize| format!("{key}={}", "v".repeat(length - key.len() - 1));
    let (large, small) = (member("large", 200), |key| member(key, 100));
    let given = [large, small("a"), small("b"), small("c"), small("d")].join(",");
    let kept = state(&[&given]).unwrap();
    assert_eq!(kept, [small("a"), small("b"), small("c"), small("d")].join(","));
    let more = [
        small("a"),
        small("b"),
        small("c"),
        small("d"),
        small("e"),
        small("f"),
    ]
    .join(",");
    let kept = state(&[&more]).unwrap();
    assert!(
        kept.len() <= TRACE_STATE_MAX && more.starts_with(&kept) && kept.contains("e="),
        "{kept}"
    );
}

#[test]
fn what_is_kept_is_read_as_it_was() {
    let plain = Trace::read(GOOD.as_bytes()).unwrap();
    let stated = Trace {
        state: TraceState::read([&b"a=1,b=2"[..]]),
        ..plain.clone()
    };
    for trace in [plain, stated] {
        assert_eq!(trace.to_text().parse::<Trace>(), Ok(trace));
    }
    for damaged in [
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 =",
    ] {
        assert_eq!(damaged.parse::<Trace>(), Err(BadTrace));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _either = (Trace::read(&bytes), TraceState::read([&bytes[..]]));
    }

    #[test]
    fn what_is_read_is_within_the_bounds(text in "([a-c]{1,3}=[v-x]{1,200},?){0,40}") {
        if let Some(state) = TraceState::read([text.as_bytes()]) {
            prop_assert!(state.as_str().len() <= TRACE_STATE_MAX);
            prop_assert_eq!(TraceState::read([state.as_str().as_bytes()]), Some(state));
        }
    }
}
