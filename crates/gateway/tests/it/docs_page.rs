//! The page of the API for people: whole, from here alone, and no wider than it must be.

use crate::house::House;

#[tokio::test]
async fn the_page_and_all_that_it_names_are_here() {
    let house = House::open().await;
    let moved = house.get("/docs").await;
    assert_eq!((moved.status, moved.header("location")), (308, Some("docs/")));
    let page = house.get("/docs/").await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let text = page.text();
    assert!(!text.contains("://"), "nothing is fetched from elsewhere: {text}");
    let named: Vec<_> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|attribute| text.split(attribute).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .filter(|name| !name.starts_with("data:") && *name != "../openapi.json")
        .collect();
    assert_eq!(named, ["swagger-ui-bundle.js", "start.js", "swagger-ui.css"]);
    for name in named {
        let part = house.get(&format!("/docs/{name}")).await;
        let media = if name.ends_with("css") {
            "text/css"
        } else {
            "text/javascript"
        };
        assert_eq!(
            (part.status, part.header("content-type")),
            (200, Some(&*format!("{media}; charset=utf-8")))
        );
        assert!(!part.body.is_empty());
        assert_eq!(
            part.header("cache-control"),
            None,
            "it is the same until the next version"
        );
    }
    let other = house.get("/docs/swagger-ui.js").await;
    assert_eq!((other.status, other.code().as_str()), (404, "unknown_route"));
    house.close().await;
}

#[tokio::test]
async fn its_scripts_are_of_this_server_and_no_other_answer_may_run_one() {
    let house = House::open().await;
    let policy = |answer: &crate::wire::Answer| answer.header("content-security-policy").unwrap().to_owned();
    let page = policy(&house.get("/docs/").await);
    for rule in [
        "default-src 'none'",
        "script-src 'self';",
        "connect-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(page.contains(rule), "{page}");
    }
    for path in ["/openapi.json", "/docs/errors", "/docs/no.js", "/"] {
        assert!(!policy(&house.get(path).await).contains("script-src"), "{path}");
    }
    house.close().await;
}
