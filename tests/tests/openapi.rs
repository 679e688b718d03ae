//! The OpenAPI document: valid, complete, and true of the shop as it runs. Every operation that
//! it describes is called, and each answer has to be one of those described, to the last field.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use jsonschema::Validator;
use nix::sys::signal::Signal;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system_tests::system::System;
use system_tests::topology::{GATEWAY, MESSAGE_QUEUE};
use system_tests::{programs, watch};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(30);

/// The document, and what of it was seen to be true.
struct Document {
    json: Value,
    url: String,
    http: reqwest::Client,
    seen: BTreeSet<(String, String, String)>,
}

impl Document {
    async fn of(system: &System) -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let url = system.url(GATEWAY).unwrap();
        let answer = http.get(format!("{url}/openapi.json")).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        let json = answer.json().await.unwrap();
        Self { json, url, http, seen: BTreeSet::new() }
    }

    /// Compiles a schema that refers to others of the document.
    fn validator(&self, schema: &Value) -> Validator {
        let whole = json!({ "allOf": [schema], "components": self.json["components"] });
        jsonschema::draft202012::new(&whole).unwrap()
    }

    /// The operations that are described: method and path.
    fn operations(&self) -> BTreeSet<(String, String)> {
        let paths = self.json["paths"].as_object().unwrap().iter();
        paths
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                methods.map(|method| (method.clone(), path.clone()))
            })
            .collect()
    }

    /// Makes a request of an operation, holds the answer against what is described, and gives
    /// its status and JSON.
    async fn call(
        &mut self,
        method: Method,
        template: &str,
        id: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let path = template.replace("{id}", id);
        let name = method.as_str().to_lowercase();
        let operation = self.json["paths"][template][&name].clone();
        assert!(operation.is_object(), "{method} {template} is not described");
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap();
        let described = &operation["responses"][status.as_str()];
        assert!(described.is_object(), "{method} {path}: {status} is not described: {answer}");
        let schema = &described["content"]["application/json"]["schema"];
        let faults: Vec<_> =
            self.validator(schema).iter_errors(&answer).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{method} {path}: {status} {answer}: {faults:?}");
        if let Some(body) = body {
            // Whoever checks a request against the document knows whether its form is right.
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if status.is_success() || status == StatusCode::BAD_REQUEST {
                let fits = self.validator(schema).is_valid(body);
                assert!(
                    fits || status == StatusCode::BAD_REQUEST,
                    "{body} is right, but does not fit"
                );
            }
        }
        self.seen.insert((name, template.to_owned(), status.as_str().to_owned()));
        (status, answer)
    }

    async fn result(
        &mut self,
        method: Method,
        path: &str,
        id: &str,
        body: Option<&Value>,
    ) -> Value {
        let (status, mut answer) = self.call(method.clone(), path, id, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        answer["result"].take()
    }

    async fn create(&mut self, kind: &str, entity: &Value) -> String {
        let ids = self.result(Method::POST, &format!("/{kind}"), "", Some(entity)).await;
        ids[0].as_str().unwrap().to_owned()
    }

    async fn fails(
        &mut self,
        status: u16,
        method: Method,
        path: &str,
        id: &str,
        body: Option<&Value>,
    ) -> String {
        let (got, answer) = self.call(method.clone(), path, id, body).await;
        assert_eq!(got.as_u16(), status, "{method} {path} {body:?}: {answer}");
        answer["error"].as_str().unwrap().to_owned()
    }
}

const PLURALS: [(&str, &str); 7] = [
    ("customer", "customers"),
    ("product", "products"),
    ("inventory", "inventories"),
    ("cart", "carts"),
    ("order", "orders"),
    ("billing", "billings"),
    ("shipping", "shippings"),
];

#[tokio::test]
async fn the_document_is_valid_and_can_be_browsed_without_the_internet() {
    let system = System::shop().await.unwrap();
    let document = Document::of(&system).await;
    let packages = programs::repository().join("target/tools/openapi");
    assert!(packages.is_dir(), "{} is not there: fetch it with `make tools`", packages.display());
    let mut validator = Command::new("python3")
        .args(["-m", "openapi_spec_validator", "--schema", "3.1", "-"])
        .env("PYTHONPATH", packages)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = document.json.to_string();
    validator.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = validator.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    // Examples of requests are requests.
    for (method, path) in document.operations() {
        let body =
            &document.json["paths"][&path][&method]["requestBody"]["content"]["application/json"];
        if body.is_object() {
            let fits = document.validator(&body["schema"]).validate(&body["example"]);
            assert!(fits.is_ok(), "{method} {path}: {fits:?}");
        }
    }

    for (path, kind) in [
        ("/docs", "text/html"),
        ("/docs/", "text/html"),
        ("/docs/swagger-ui-bundle.js", "javascript"),
        ("/docs/swagger-ui.css", "text/css"),
        ("/docs/swagger-initializer.js", "javascript"),
    ] {
        let answer = document.http.get(format!("{}{path}", document.url)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert!(answer.headers()["content-type"].to_str().unwrap().contains(kind), "{path}");
        let text = answer.text().await.unwrap();
        if !path.ends_with("bundle.js") && !path.ends_with(".css") {
            assert!(!text.contains("https://"), "{path} is loaded from elsewhere: {text}");
        }
        if path.ends_with("initializer.js") {
            assert!(
                text.contains("/openapi.json") && text.contains("\"validatorUrl\": \"none\""),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn every_operation_answers_as_it_is_described() {
    let system = System::shop_with(&[(GATEWAY, &["--request-timeout", "3s"])]).await.unwrap();
    let mut document = Document::of(&system).await;
    entities(&mut document).await;
    for path in [
        "/orders/unbilled",
        "/orders/unshipped",
        "/orders/delivered",
        "/mails/sent",
        "/report",
        "/report/orders",
        "/livez",
        "/readyz",
    ] {
        document.result(Method::GET, path, "", None).await;
    }
    elsewhere(&document).await;

    // Nothing is described that is not there, and nothing was left out of this test.
    let mut wanted = document.operations();
    for other in ["/", "/ws"] {
        assert!(wanted.remove(&("get".to_owned(), other.to_owned())), "{other}");
    }
    let seen: BTreeSet<_> = document
        .seen
        .iter()
        .filter(|(_, _, status)| status == "200")
        .map(|(method, path, _)| (method.clone(), path.clone()))
        .collect();
    // The shop makes shippings itself, as soon as one is allowed: here it always is too late.
    let refused = ("post".to_owned(), "/shipping".to_owned(), "409".to_owned());
    assert!(document.seen.contains(&refused));
    let left_out: Vec<_> = wanted.difference(&seen).collect();
    assert_eq!(left_out, [&(refused.0, refused.1)]);
    // And nothing is there that is not described: section 10 of the design, and 405 for the rest.
    for (one, many) in PLURALS {
        for (method, path) in [
            ("get", format!("/{many}")),
            ("post", format!("/{many}")),
            ("post", format!("/{one}")),
            ("get", format!("/{one}/{{id}}")),
            ("put", format!("/{one}/{{id}}")),
            ("delete", format!("/{one}/{{id}}")),
        ] {
            assert!(wanted.contains(&(method.to_owned(), path.clone())), "{method} {path}");
        }
    }
    for path in document.json["paths"].as_object().unwrap().keys().filter(|path| *path != "/ws") {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let name = method.as_str().to_lowercase();
            if document.json["paths"][path][&name].is_object() {
                continue;
            }
            let url = format!("{}{}", document.url, path.replace("{id}", "x"));
            let answer = document.http.request(method.clone(), url).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
    }
}

/// Each kind of entity through its life, with the answers of all its operations.
async fn entities(document: &mut Document) {
    let customer = json!({ "name": "Ann", "email": "ann@example.com" });
    let customer = document.create("customer", &customer).await;
    let product = document.create("product", &json!({ "name": "Pen", "price": 3 })).await;
    let stock = json!({ "product_id": product, "amount": 10 });
    let inventory = document.create("inventory", &stock).await;
    let cart = json!({ "customer_id": customer, "product_ids": [product, product] });
    let cart = document.create("cart", &cart).await;
    let order = document.create("order", &json!({ "cart_id": cart })).await;
    let billing = document.create("billing", &json!({ "order_id": order, "amount": 6 })).await;
    let of_order = |list: &Value| {
        let mut list = list.as_array().unwrap().iter();
        list.find(|s| s["order_id"] == order).map(|s| s["entity_id"].as_str().unwrap().to_owned())
    };
    let end = tokio::time::Instant::now() + PATIENCE;
    let shipping = loop {
        let list = document.result(Method::GET, "/shippings", "", None).await;
        if let Some(id) = of_order(&list) {
            break id;
        }
        assert!(tokio::time::Instant::now() < end, "no shipping");
    };
    // The shop made the shipping itself: another is refused.
    document.fails(409, Method::POST, "/shipping", "", Some(&json!({ "order_id": order }))).await;

    let ids = [customer, product, inventory, cart, order.clone(), billing, shipping];
    let patches = [
        json!({ "name": "Anna" }),
        json!({ "price": 4 }),
        json!({ "amount": 9 }),
        json!({}),
        json!({}),
        json!({ "amount": 6 }),
        json!({ "delivered": true }),
    ];
    let wrong = [
        (json!({ "name": "" , "email": "nowhere"}), vec!["name", "email"]),
        (json!({ "name": "x", "price": -1, "colour": 1 }), vec!["price", "colour"]),
        (json!({ "product_id": 3, "amount": "3" }), vec!["product_id", "amount"]),
        (json!({ "customer_id": "c", "product_ids": [] }), vec!["product_ids"]),
        (json!({ "cart_id": "c", "status": "LOST" }), vec!["status"]),
        (json!({ "order_id": "o" }), vec!["amount"]),
        (json!({ "order_id": "o", "delivered": [] }), vec!["delivered"]),
    ];
    for (((one, many), id), patch) in PLURALS.into_iter().zip(&ids).zip(&patches) {
        let (single, with_id, plural) =
            (format!("/{one}"), format!("/{one}/{{id}}"), format!("/{many}"));
        let at = PLURALS.iter().position(|(name, _)| *name == one).unwrap();
        let (bad, fields) = &wrong[at];
        for path in [&single, &plural] {
            let error = document.fails(400, Method::POST, path, "", Some(bad)).await;
            for field in fields {
                assert!(error.contains(&format!("{field}: ")), "{field} is not named: {error}");
            }
        }
        document.result(Method::GET, &plural, "", None).await;
        let entity = document.result(Method::GET, &with_id, id, None).await;
        assert_eq!(entity["entity_id"], **id, "{one}");
        assert_eq!(document.result(Method::GET, &with_id, "none", None).await, Value::Null);
        assert_eq!(document.result(Method::PUT, &with_id, id, Some(patch)).await, true);
        document.fails(400, Method::PUT, &with_id, id, Some(&json!({ "colour": 1 }))).await;
        document.fails(404, Method::PUT, &with_id, "none", Some(patch)).await;
        document.fails(404, Method::DELETE, &with_id, "none", None).await;
        let large = json!({ "name": "x".repeat(600 << 10) });
        document.fails(413, Method::POST, &single, "", Some(&large)).await;
    }
    let message = json!([{ "name": "Ben", "email": "ben@example.com" }]);
    for (at, (_, many)) in PLURALS.into_iter().enumerate() {
        let body = match at {
            0 => message.clone(),
            1 => json!({ "name": "Ink", "price": 1 }),
            2 => json!({ "product_id": ids[1], "amount": 1 }),
            3 => json!({ "customer_id": ids[0], "product_ids": [ids[1]] }),
            4 => json!({ "cart_id": ids[3] }),
            5 => json!({ "order_id": order, "amount": 6 }),
            _ => json!({ "order_id": order }),
        };
        document.result(Method::POST, &format!("/{many}"), "", Some(&body)).await;
    }
    // Last to first, so that nothing is needed any more when it goes. The cart is ordered.
    document.fails(409, Method::DELETE, "/cart/{id}", &ids[3], None).await;
    let spare = json!({ "customer_id": ids[0], "product_ids": [ids[1]] });
    let spare = document.create("cart", &spare).await;
    for ((one, _), id) in PLURALS.into_iter().zip(&ids).rev() {
        let id = if one == "cart" { &spare } else { id };
        let path = format!("/{one}/{{id}}");
        assert_eq!(document.result(Method::DELETE, &path, id, None).await, true, "{one}");
    }
}

/// What the gateway answers to requests for nothing.
async fn elsewhere(document: &Document) {
    let error = document.validator(&json!({ "$ref": "#/components/schemas/Error" }));
    let answer = document.http.get(format!("{}/nowhere", document.url)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert!(error.is_valid(&answer.json().await.unwrap()));
    let request = document.http.post(format!("{}/product", document.url)).body("{\"name\":");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(error.is_valid(&answer.json().await.unwrap()));
}

#[tokio::test]
async fn what_is_away_or_slow_is_told_as_it_is_described() {
    let system = System::shop_with(&[(GATEWAY, &["--request-timeout", "1s"])]).await.unwrap();
    let mut document = Document::of(&system).await;
    let product = json!({ "name": "Pen", "price": 3 });
    // The client itself does not go on.
    let address = document.url.trim_start_matches("http://").to_owned();
    let mut slow = TcpStream::connect(address).await.unwrap();
    let begun = b"POST /product HTTP/1.1\r\nhost: shop\r\ncontent-length: 99\r\n\r\n{";
    slow.write_all(begun).await.unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    // Nobody works the queue off.
    system.signal("product-service", Signal::SIGSTOP).unwrap();
    let error = document.fails(504, Method::POST, "/product", "", Some(&product)).await;
    assert!(error.contains("may still be carried out"), "{error}");
    system.signal("product-service", Signal::SIGCONT).unwrap();
    // The queue itself hangs.
    system.signal(MESSAGE_QUEUE, Signal::SIGSTOP).unwrap();
    document.fails(504, Method::POST, "/product", "", Some(&product)).await;
    document.fails(504, Method::POST, "/products", "", Some(&product)).await;
    document.fails(504, Method::GET, "/products", "", None).await;
    system.signal(MESSAGE_QUEUE, Signal::SIGCONT).unwrap();
    // It is gone.
    let mut system = system;
    system.kill9(MESSAGE_QUEUE).await.unwrap();
    document.fails(503, Method::POST, "/product", "", Some(&product)).await;
    document.fails(503, Method::GET, "/product/{id}", "x", None).await;
    watch::until("not to be ready", PATIENCE, || async {
        let answer = reqwest::get(format!("{}/readyz", document.url)).await?;
        anyhow::ensure!(answer.status() == StatusCode::SERVICE_UNAVAILABLE, "{}", answer.status());
        Ok(())
    })
    .await
    .unwrap();
    document.fails(503, Method::GET, "/readyz", "", None).await;
}
