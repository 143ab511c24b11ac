//! What the document of the admin API says of an answer is what comes.

use std::path::Path;
use std::sync::OnceLock;

use jsonschema::Draft;
use serde_json::Value;

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/admin-openapi.json");
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    })
}

/// The answer is one that the document has for this path.
pub(crate) fn assert_is_described(method: &str, path: &str, status: u16, media_type: &str, body: &Value) {
    let of_path = &document()["paths"][path][method.to_lowercase()];
    let answer = &of_path["responses"][status.to_string()]["content"][media_type]["schema"];
    assert!(
        answer.is_object(),
        "{method} {path}: the document has no {status} of {media_type}"
    );
    let mut schema = answer.clone();
    schema["components"] = document()["components"].clone();
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .build(&schema)
        .unwrap();
    let errors: Vec<_> = validator.iter_errors(body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{method} {path} {status}: {errors:?} in {body}");
}
