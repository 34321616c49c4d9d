//! The OpenAPI document: from the handlers and the types themselves; what operations share is added here, once for all.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::routes::{
    account, agent, audit, enrollment, gateway, instance, peer, proxy, rotation, service, site, site_health, token,
};
use crate::api::{
    IDEMPOTENCY_KEY, MAX_FREEZE_REASON, MAX_FREEZE_SECS, MAX_IDEMPOTENCY_KEY, MAX_NAME, PROBLEM_TYPE, Problem,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "sitepeer hub",
        description = "Control plane of a managed VPN for MikroTik sites. Every error is a problem (RFC 9457) with a stable `code`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(
        account::list, account::create, account::one, account::edit, account::delete,
        token::list, token::create, token::delete, audit::whoami, audit::list,
        instance::list, instance::create, instance::one, instance::edit, instance::delete,
        instance::retry, instance::suspend, instance::resume, instance::usage,
        peer::list, peer::list_of_instance, peer::create, peer::one, peer::edit, peer::delete,
        peer::enable, peer::disable, peer::revoke, peer::usage, peer::profile,
        site::list, site::create, site::one, site::edit, site::delete, site::subnets,
        site_health::health, site_health::transitions, site_health::events, site_health::hours, site_health::freeze, site_health::thaw,
        enrollment::list, enrollment::create, enrollment::revoke, enrollment::enroll,
        agent::desired, agent::applied, agent::reports,
        proxy::assign, proxy::unassign, proxy::leases, proxy::desired, proxy::applied, proxy::reports,
        rotation::instance, rotation::peer, rotation::cancel, rotation::agent,
        gateway::list, gateway::delete, gateway::hello, gateway::desired, gateway::applied, gateway::report,
        service::health, service::ready, service::metrics, service::openapi,
    ),
    components(schemas(Problem)),
    security(("bearer" = []))
)]
struct Document;

/// Methods of a path item that are operations.
const METHODS: [&str; 4] = ["get", "post", "patch", "delete"];

/// Returns the document as JSON.
pub(super) fn document() -> &'static [u8] {
    static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| serde_json::to_vec(&build()).unwrap_or_default());
    &TEXT
}

fn build() -> Value {
    // Shapes of serde that cannot fail to be written; if one did, the document would be empty, and a test would see it.
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    document["components"]["responses"]["Problem"] = json!({
        "description": "Why it was not done",
        "content": { PROBLEM_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    document["components"]["securitySchemes"]["bearer"] = json!({
        "type": "http",
        "scheme": "bearer",
        "description": "A token of `sitepeer hub token`, an agent's credential, or a gateway's token.",
    });
    for (schema, property, limits) in limits() {
        // A property of one variant of an enum lies deeper.
        let schema = &mut document["components"]["schemas"][schema];
        let variants = schema.get_mut("oneOf").and_then(Value::as_array_mut);
        let places: Vec<&mut Value> = match variants {
            Some(variants) => variants.iter_mut().collect(),
            None => vec![schema],
        };
        for place in places {
            if let Some(found) = place.pointer_mut(&format!("/properties/{property}")).and_then(Value::as_object_mut) {
                found.extend(limits.clone());
            }
        }
    }
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method).and_then(Value::as_object_mut) {
                complete(path, method, operation);
            }
        }
    }
    document
}

/// What texts of people's requests have to be, as far as a schema can say it: schema, property, keywords.
fn limits() -> Vec<(&'static str, &'static str, Map<String, Value>)> {
    let keywords = |keywords: Value| keywords.as_object().cloned().unwrap_or_default();
    let name = keywords(json!({ "minLength": 1, "maxLength": MAX_NAME }));
    let label = keywords(json!({ "pattern": "^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$" }));
    let mut all: Vec<_> = ["NewAccount", "AccountEdit", "NewSite", "SiteEdit", "NewToken", "PeerEdit", "NewPeer"]
        .into_iter()
        .map(|schema| (schema, "name", name.clone()))
        .collect();
    all.extend(["NewInstance", "NewToken"].map(|schema| (schema, "region", name.clone())));
    all.extend(["NewPeer", "PeerEdit"].map(|schema| (schema, "user", name.clone())));
    all.extend(["NewInstance", "InstanceEdit"].map(|schema| (schema, "name", label.clone())));
    all.push(("NewFreeze", "for_secs", keywords(json!({ "minimum": 1, "maximum": MAX_FREEZE_SECS }))));
    all.push((
        "NewFreeze",
        "reason",
        keywords(json!({ "maxLength": MAX_FREEZE_REASON, "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]*$" })),
    ));
    all
}

/// Adds what an operation has in common with others: headers and refusals.
fn complete(path: &str, method: &str, operation: &mut Map<String, Value>) {
    let public = operation.get("security").is_some_and(|security| *security == json!([{}]));
    let (has_body, has_id) = (operation.contains_key("requestBody"), path.contains('{'));
    let has_parameters = operation.get("parameters").is_some();
    operation.insert("operationId".to_owned(), json!(operation_id(path, method)));
    let versioned = ["/v1/accounts/{id}", "/v1/instances/{id}", "/v1/peers/{id}", "/v1/sites/{id}"].contains(&path);
    let switches = path == "/v1/peers/{id}/enable" || path == "/v1/peers/{id}/disable";
    let edits = versioned && method != "get" || switches;
    let creates = operation["responses"].get("201").is_some();
    let machines = ["/v1/agent", "/v1/gateway/", "/v1/proxy/"];
    let people = path.starts_with("/v1/") && !machines.iter().any(|machine| path.starts_with(machine));

    let mut statuses = vec!["500", "503"];
    let mut when = |condition: bool, more: &[&'static str]| statuses.extend(more.iter().filter(|_| condition));
    when(!public, &["401", "403", "429"]);
    when(has_id, &["404"]);
    when(has_parameters || has_body || edits, &["400", "422"]);
    when(has_body, &["408", "413", "415", "409"]);
    when(method != "get" || path.ends_with("/profile") || !people, &["409"]);
    when(edits, &["412"]);
    when(path == "/v1/enroll", &["401", "403", "429"]);
    when(has_body && !has_id, &["404"]);
    for status in statuses {
        operation["responses"][status] = json!({ "$ref": "#/components/responses/Problem" });
    }
    let mut parameter = |condition: bool, header: Value| {
        if condition && let Some(list) = operation.entry("parameters").or_insert(json!([])).as_array_mut() {
            list.push(header);
        }
    };
    parameter(edits, if_match());
    parameter(creates, idempotency_key());
    headers(operation, creates, versioned && method != "delete");
}

/// Returns an operation's name, the only one of its kind in the document: names of handlers come again in every module.
fn operation_id(path: &str, method: &str) -> String {
    let words = path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty() && *word != "v1");
    [method].into_iter().chain(words).collect::<Vec<_>>().join("_")
}

fn if_match() -> Value {
    json!({
        "name": "If-Match", "in": "header", "required": false,
        "description": "The ETag of the version that the change starts from; another one is refused with 412. Without it, the last write wins.",
        "schema": { "type": "string", "pattern": "^\"[0-9]{1,18}\"$", "examples": ["\"7\""] },
    })
}

fn idempotency_key() -> Value {
    json!({
        "name": IDEMPOTENCY_KEY, "in": "header", "required": false,
        "description": "Makes the request safe to repeat: the same key with the same request gives the same object again.",
        "schema": { "type": "string", "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY, "pattern": "^[!-~]+$" },
    })
}

fn headers(operation: &mut Map<String, Value>, creates: bool, versioned: bool) {
    let etag = json!({ "description": "The version, for If-Match", "schema": { "type": "string" } });
    if creates {
        let place = json!({ "description": "Where it is", "schema": { "type": "string" } });
        operation["responses"]["201"]["headers"]["Location"] = place;
    }
    if versioned && operation["responses"].get("200").is_some() {
        operation["responses"]["200"]["headers"]["ETag"] = etag;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference of the document leads somewhere.
    fn dangling(document: &Value, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref")
                    && document.pointer(reference.trim_start_matches('#')).is_none()
                {
                    found.push(reference.clone());
                }
                object.values().for_each(|value| dangling(document, value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| dangling(document, value, found)),
            _ => {}
        }
    }

    #[test]
    fn no_two_operations_have_the_same_id() {
        let document = build();
        let operations =
            document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
        let ids: Vec<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        let different: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(different.len(), ids.len(), "{ids:?}");
        assert!(different.contains("post_sites_id_freeze"), "{different:?}");
    }

    #[test]
    fn the_document_lists_every_operation_with_its_refusals() {
        let document = build();
        let paths = document["paths"].as_object().unwrap();
        let count: usize = paths.values().map(|item| item.as_object().unwrap().len()).sum();
        assert_eq!(count, 69, "{:?}", paths.keys().collect::<Vec<_>>());
        assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
        for (path, item) in paths {
            for (method, operation) in item.as_object().unwrap() {
                assert!(operation["summary"].is_string(), "{method} {path} says nothing of itself");
                assert!(operation["responses"]["500"].is_object(), "{method} {path}");
            }
        }
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["NewPeer"]["oneOf"][1]["properties"]["user"]["maxLength"], 64, "{}", schemas["NewPeer"]);
        assert!(schemas["NewInstance"]["properties"]["name"]["pattern"].is_string());
        let mut missing = Vec::new();
        dangling(&document, &document, &mut missing);
        assert!(missing.is_empty(), "{missing:?}");
    }
}
