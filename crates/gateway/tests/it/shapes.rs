//! The OpenAPI document tells the truth: real answers have the members it describes, and real routes the paths.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::house::House;

fn document() -> Value {
    serde_json::from_str(&cresset_gateway::openapi()).unwrap()
}

/// Checks an answer against a schema: every member is described, every required one is there, types fit.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return check(
            document,
            &document["components"]["schemas"][name],
            value,
            &format!("{place}: {name}"),
        );
    }
    if let Some(either) = schema["oneOf"].as_array() {
        let fitting = either
            .iter()
            .find(|s| (s["type"] == "null") == value.is_null())
            .unwrap();
        return check(document, fitting, value, place);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().map(|t| t.as_str().unwrap()).collect(),
        _ => return, // anything goes
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) if types.contains(&"number") => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(types.contains(&is), "{place}: {value} is {is}, not {types:?}");
    if let Some(items) = value.as_array() {
        items
            .iter()
            .for_each(|item| check(document, &schema["items"], item, &format!("{place}[]")));
    }
    if let (Some(members), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        let given: BTreeSet<_> = members.keys().map(String::as_str).collect();
        let known: BTreeSet<_> = properties.keys().map(String::as_str).collect();
        assert!(
            given.is_subset(&known),
            "{place}: not described: {:?}",
            given.difference(&known)
        );
        let required = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|r| r.as_str().unwrap());
        required.for_each(|r| assert!(given.contains(r), "{place}: `{r}` is missing in {value}"));
        members.iter().for_each(|(name, member)| {
            check(document, &properties[name], member, &format!("{place}.{name}"))
        });
    }
}

#[tokio::test]
async fn real_answers_fit_the_schemas() {
    let house = House::open().await.with_echo().await;
    let document = document();
    let path = house
        .submitted("echo", r#"{"input": 1, "metadata": {"a": [1]}}"#)
        .await;
    let failed = house.submitted("echo", r#"{"input": {"raise": "no"}}"#).await;
    let letter = format!("/v1/dead/{}", house.poisoned("echo").await);
    let cases = [
        (
            "/v1/models/{model}/tasks",
            "post",
            house.post("/v1/models/echo/tasks", r#"{"input":1}"#).await,
        ),
        (
            "/v1/models/{model}/tasks",
            "post",
            house.post("/v1/models/echo/tasks", r#"{"inptu":1}"#).await,
        ),
        (
            "/v1/models/{model}/tasks",
            "post",
            house.post("/v1/models/echo/tasks", "{").await,
        ),
        (
            "/v1/models/{model}/predict",
            "post",
            house.post("/v1/models/echo/predict", r#"{"input":1}"#).await,
        ),
        (
            "/v1/models/{model}/predict",
            "post",
            house
                .post("/v1/models/echo/predict", r#"{"input":{"raise":"x"}}"#)
                .await,
        ),
        (
            "/v1/tasks/{id}",
            "get",
            house.get(&format!("{path}?wait=20s")).await,
        ),
        (
            "/v1/tasks/{id}",
            "get",
            house.get(&format!("{failed}?wait=20s")).await,
        ),
        (
            "/v1/tasks/{id}/result",
            "get",
            house.get(&format!("{failed}/result")).await,
        ),
        (
            "/v1/tasks/{id}/cancel",
            "post",
            house.post(&format!("{path}/cancel"), "").await,
        ),
        ("/v1/tasks", "get", house.get("/v1/tasks?limit=1").await),
        ("/v1/dead", "get", house.get("/v1/dead?limit=1").await),
        ("/v1/dead/{id}", "get", house.get(&letter).await),
        (
            "/v1/dead/{id}/replay",
            "post",
            house.post(&format!("{letter}/replay"), "").await,
        ),
        ("/v1/dead/{id}", "delete", house.delete(&letter).await),
        ("/v1/dead/{id}", "get", house.get(&letter).await),
        ("/v1/dead", "delete", house.delete("/v1/dead?all=true").await),
        ("/v1/models", "get", house.get("/v1/models").await),
        ("/v1/models/{model}", "get", house.get("/v1/models/echo").await),
        ("/v1/models/{model}", "get", house.get("/v1/models/ech").await),
        ("/health/live", "get", house.get("/health/live").await),
        ("/health/ready", "get", house.get("/health/ready").await),
        ("/", "get", house.get("/").await),
    ];
    for (path, method, answer) in cases {
        let place = format!("{method} {path} {}", answer.status);
        let content = &document["paths"][path][method]["responses"][answer.status.to_string()]["content"];
        let schema = &content[answer.header("content-type").unwrap()]["schema"];
        assert!(schema.is_object(), "{place} is not described: {answer:?}");
        check(&document, schema, &answer.json(), &place);
    }
    house.close().await;
}

#[tokio::test]
async fn every_path_of_the_document_is_a_route_with_exactly_its_methods() {
    let house = House::open().await;
    for (path, item) in document()["paths"].as_object().unwrap() {
        let path = path.replace("{model}", "m").replace("{id}", "i");
        let mut caller = house.caller().await;
        caller
            .send(format!("PATCH {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .await;
        let answer = caller.answer().await;
        assert_eq!(answer.code(), "method_not_allowed", "{path}");
        let allowed: BTreeSet<_> = answer
            .header("allow")
            .unwrap()
            .split(',')
            .filter(|m| *m != "HEAD")
            .map(str::to_lowercase)
            .collect();
        assert_eq!(
            allowed,
            item.as_object().unwrap().keys().cloned().collect(),
            "{path}"
        );
    }
    house.close().await;
}
