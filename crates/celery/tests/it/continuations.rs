//! What follows a task, held to the messages that a real worker sent.

use cresset_celery::{Embed, Head, Next, Outgoing, Plan, Signature, parse_time};
use serde_json::{Value, json};

use crate::capture;

/// The messages of one case: the client's, then the worker's.
fn messages(case: &str) -> Vec<Value> {
    capture("D_redis_continuations.json")["messages"][case]
        .as_array()
        .expect(case)
        .clone()
}

fn head_of(message: &Value) -> Head {
    let text = |name: &str| message["headers"][name].as_str().map(str::to_owned);
    Head {
        id: text("id").unwrap(),
        root_id: text("root_id"),
        group: text("group"),
        ..Head::default()
    }
}

fn embed_of(message: &Value) -> Embed {
    serde_json::from_value(message["body_json"][2].clone()).unwrap()
}

fn next<T>(head: &Head, ids: &[&str], act: impl FnOnce(&mut Next<'_>) -> T) -> T {
    let mut ids = ids.iter();
    act(&mut Next {
        head,
        node: "w@lab",
        queue_of: &|_| "celery".into(),
        unlocks: false,
        new_id: &mut || (*ids.next().expect("an id more than a real worker makes")).to_owned(),
        now: parse_time("2026-11-22T23:39:00").unwrap(),
    })
}

/// That what we would send is what the real worker sent, but for what names the sender.
fn assert_sent(sends: &[Outgoing], real: &[Value]) {
    assert_eq!(sends.len(), real.len());
    for (ours, real) in sends.iter().zip(real) {
        assert_eq!(
            json!(ours.queue),
            real["properties"]["delivery_info"]["routing_key"]
        );
        assert_eq!(
            json!(ours.message.properties.priority),
            real["properties"]["priority"]
        );
        let mut wanted = real["headers"].clone();
        let mut found = Value::Object(ours.message.headers.clone());
        for headers in [&mut wanted, &mut found] {
            for own in ["origin", "argsrepr", "kwargsrepr", "ignore_result"] {
                headers.as_object_mut().unwrap().remove(own);
            }
        }
        assert_eq!(found, wanted);
        let body: Value = serde_json::from_slice(&ours.message.body).unwrap();
        assert_eq!(without_nulls(&body), without_nulls(&real["body_json"]));
    }
}

/// A real worker writes some options as null that we leave out: they say the same.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect(),
        other => other.clone(),
    }
}

fn success(message: &Value, result: &str, ids: &[&str]) -> Plan {
    next(&head_of(message), ids, |next| {
        next.after_success(&embed_of(message), result).unwrap()
    })
}

#[test]
fn a_callback_and_two_callbacks() {
    let one = messages("link_one");
    let id = one[1]["headers"]["id"].as_str().unwrap();
    let plan = success(&one[0], "5", &[id]);
    assert_sent(&plan.sends, &one[1..]);
    assert_eq!(plan.children, [json!([[id, null], null])]);

    let two = messages("link_two");
    let ids: Vec<_> = ["group", "id"]
        .iter()
        .map(|name| two[1]["headers"][*name].as_str().unwrap())
        .collect();
    let second = two[2]["headers"]["id"].as_str().unwrap();
    let plan = success(&two[0], "5", &[ids[0], ids[1], second]);
    assert_sent(&plan.sends, &two[1..3]);
    assert_eq!(
        plan.children,
        [json!([
            [ids[0], null],
            [[[ids[1], null], null], [[second, null], null]]
        ])]
    );
}

#[test]
fn the_next_step_of_a_chain() {
    let chain = messages("chain_3");
    let plan = success(&chain[0], "2", &[]);
    let sent = &plan.sends[0].message;
    assert_eq!(sent.headers["id"], "c-c2");
    assert_eq!(sent.properties.priority, Some(3));
    // That step as the client of the capture's second half saw it: its own embed is what we sent.
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    let embed: Embed = serde_json::from_value(body[2].clone()).unwrap();
    let head = Head {
        id: "c-c2".into(),
        root_id: Some("c-c1".into()),
        ..Head::default()
    };
    let plan = next(&head, &[], |next| next.after_success(&embed, "12").unwrap());
    assert_sent(&plan.sends, &chain[1..]);
    assert_eq!(embed_of(&chain[0]).lost_steps(), ["c-c2", "c-c3"]);
}

#[test]
fn a_group_within_a_chain_is_a_chord() {
    let all = messages("chain_then_group_then_task");
    let plan = success(&all[0], "2", &[]);
    assert_sent(&plan.sends, &all[1..3]);
    assert_eq!((plan.sizes.len(), plan.sizes[0].size), (1, 2));
    let last = &all[2];
    let body = embed_of(last).chord.unwrap();
    assert_eq!(
        Signature::of(&body).unwrap().id(),
        all[3]["headers"]["id"].as_str()
    );
    let plan = next(&head_of(last), &[], |next| {
        next.chord_body(&body, "[3, 4]").unwrap()
    });
    assert_sent(&plan.sends, &all[3..]);
}

#[test]
fn a_chord_and_an_error_callback() {
    let chord = messages("chord_3");
    let body = embed_of(&chord[2]).chord.unwrap();
    let plan = next(&head_of(&chord[2]), &[], |next| {
        next.chord_body(&body, "[0, 2, 4]").unwrap()
    });
    assert_sent(&plan.sends, &chord[3..]);

    let error = messages("link_error_old_style_sent_as_task");
    let ids: Vec<_> = ["group", "id"]
        .iter()
        .map(|name| error[1]["headers"][*name].as_str().unwrap())
        .collect();
    let embed = embed_of(&error[0]);
    let plan = next(&head_of(&error[0]), &ids, |next| {
        next.after_failure(embed.errbacks.as_deref()).unwrap()
    });
    assert_sent(&plan.sends, &error[1..]);
}

#[test]
fn a_chain_in_a_chords_header_ends_with_the_part_that_counts() {
    let step = |task: &str| json!({"task": task, "args": [], "options": {"task_id": task}});
    let chain = json!({"task": "celery.chain", "kwargs": {"tasks": [step("a"), step("b")]}});
    let chord = json!({"task": "celery.chord", "kwargs": {"header": [chain, step("c")], "body": step("d")}});
    let head = Head {
        id: "x".into(),
        ..Head::default()
    };
    let embed = Embed {
        chain: Some(vec![chord]),
        ..Embed::default()
    };
    let plan = next(&head, &["g"], |next| next.after_success(&embed, "1").unwrap());
    let names: Vec<_> = plan
        .sends
        .iter()
        .map(|s| s.message.headers["id"].clone())
        .collect();
    assert_eq!(names, ["a", "c"]);
    let body: Value = serde_json::from_slice(&plan.sends[0].message.body).unwrap();
    let second: Embed = serde_json::from_value(body[2].clone()).unwrap();
    assert_eq!(second.chord, None, "the first step does not count");
    let head = Head {
        id: "a".into(),
        ..Head::default()
    };
    let plan = next(&head, &[], |next| next.after_success(&second, "2").unwrap());
    let sent = &plan.sends[0].message;
    assert_eq!(
        (&sent.headers["group"], &sent.headers["group_index"]),
        (&json!("g"), &json!(0))
    );
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(body[2]["chord"]["task"], "d");
}

#[test]
fn what_cannot_be_sent_says_why() {
    let head = Head {
        id: "x".into(),
        ..Head::default()
    };
    let says = |callback: Value| {
        let embed = Embed {
            callbacks: Some(vec![callback]),
            ..Embed::default()
        };
        next(&head, &["a", "b", "c"], |next| {
            next.after_success(&embed, "1").unwrap_err().to_string()
        })
    };
    assert!(says(json!(1)).contains("no object"));
    assert!(says(json!({"task": ""})).contains("no task"));
    assert!(says(json!({"task": "t", "args": 1})).contains("`args`"));
    assert!(says(json!({"task": "t", "options": {"eta": "soon"}})).contains("`eta`"));
    assert!(says(json!({"task": "celery.group", "kwargs": {}})).contains("`tasks`"));
    let mut deep = json!({"task": "t"});
    for _ in 0..20 {
        deep = json!({"task": "celery.chain", "kwargs": {"tasks": [deep]}});
    }
    assert!(says(deep).contains("deeper"));
}
