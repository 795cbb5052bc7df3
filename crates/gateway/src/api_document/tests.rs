use super::*;
use utoipa::openapi::RefOr;

#[test]
fn every_operation_has_an_id_and_every_problem_its_schema() {
    let mut document = document();
    assert!(
        serde_json::to_value(&document.openapi)
            .unwrap()
            .as_str()
            .unwrap()
            .starts_with("3.1")
    );
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            let id = operation
                .operation_id
                .clone()
                .unwrap_or_else(|| panic!("{path} has no operation id"));
            for code in problems(&id) {
                let RefOr::T(response) = &operation.responses.responses[&code.http_status().to_string()]
                else {
                    panic!("{id}: a response of its own is expected");
                };
                assert!(
                    response.content.contains_key("application/problem+json"),
                    "{id} {code}"
                );
                assert!(response.description.contains(code.name()), "{id} {code}");
            }
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let text = openapi();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let known = document["components"]["schemas"].as_object().unwrap();
    for reference in text
        .split("\"#/components/schemas/")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
    {
        assert!(known.contains_key(reference), "{reference}");
    }
}
