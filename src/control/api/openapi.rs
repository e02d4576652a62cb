//! The API as an OpenAPI 3.1 document, made from the table of routes.

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::route::{ROUTES, Route, Verb};
use super::{Answer, ok, schema};
use crate::cli::VERSION;

#[expect(clippy::unused_async, reason = "a handler like the others")]
pub(super) async fn document(call: Call) -> Answer {
    ok(&described(call.api.desk.access.has_tokens()))
}

/// As this broker answers: with tokens or, to programs of its own machine, without.
fn described(has_tokens: bool) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let path = format!("/api/v1{}", route.path.replace("{*", "{"));
        let verb = Method::from(route.verb).as_str().to_ascii_lowercase();
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[verb] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Hawker admin API",
            "version": VERSION,
            "description": "See docs/api.md. Without configured tokens it answers programs of its \
                            own machine alone.",
        },
        "paths": paths,
        "security": if has_tokens { json!([{ "token": [] }]) } else { json!([]) },
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": { "Error": error_schema() },
        },
    })
}

fn operation(route: &Route) -> Value {
    let parts = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parts = parts.map(|name| {
        let name = name.trim_start_matches('*');
        json!({ "name": name, "in": "path", "required": true, "schema": schema::parameter(route.path, name) })
    });
    let query = route.query.iter().map(|(name, about)| {
        let schema = schema::parameter(route.path, name);
        json!({ "name": name, "in": "query", "description": about, "schema": schema })
    });
    let mut operation = json!({
        "summary": route.about,
        "description": format!("Needs the role {}.", route.role.name()),
        "parameters": parts.chain(query).collect::<Vec<_>>(),
        "responses": {
            "200": { "description": "Done.", "content": content(route) },
            "default": {
                "description": "Not done: why, and what to do about it.",
                "content": {
                    "application/json": { "schema": { "$ref": "#/components/schemas/Error" } },
                },
            },
        },
    });
    if let Some(body) = route.body {
        operation["requestBody"] = json!({
            "required": true,
            "description": body,
            "content": { "application/json": { "schema": schema::body(route.path) } },
        });
    }
    operation
}

fn content(route: &Route) -> Value {
    match route.streams {
        Some(kind) => json!({ kind: {} }),
        None => {
            let schema = schema::answer(route.path, route.verb == Verb::Get);
            json!({ "application/json": { "schema": schema } })
        }
    }
}

fn error_schema() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": { "code": text, "message": text },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let document = described(true);
        let paths = document["paths"].as_object().expect("an object");
        let described: BTreeSet<String> = paths
            .iter()
            .flat_map(|(path, verbs)| {
                let verbs = verbs.as_object().expect("an object").keys();
                verbs.map(move |verb| format!("{verb} {path}"))
            })
            .collect();
        let routes: BTreeSet<String> = ROUTES
            .iter()
            .map(|route| {
                let verb = Method::from(route.verb).as_str().to_ascii_lowercase();
                format!("{verb} /api/v1{}", route.path.replace("{*", "{"))
            })
            .collect();
        assert_eq!(routes.len(), ROUTES.len(), "no route twice");
        assert_eq!(described, routes);
    }

    #[test]
    fn the_documentation_names_every_route() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
        let text = std::fs::read_to_string(file).expect("it is ours");
        for route in ROUTES {
            let line = format!("`{} {}`", Method::from(route.verb), route.path.replace("{*", "{"));
            assert!(text.contains(&line), "docs/api.md leaves out {line}");
        }
    }
}
